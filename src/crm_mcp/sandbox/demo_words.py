"""The words that the demo records are made of; every name is invented, every domain ends in `.example`."""

# ruff: noqa: SIM905  (as lists of literals these would fill pages)

from typing import Final

# 41 stems and 29 trades, 31 first and 43 last names: lengths without common divisor, so that stepping through
# both lists of a pair at once repeats no combination for a long while.
COMPANY_STEMS: Final = """
    Nordlicht Vento Halden Orbis Brücken Quint Tessara Alpenblick Marlow Luma Kestrel Iberia Rhein
    Solveig Aurora Baltic Cobalt Fjell Granit Helvet Ilmen Jura Karst Lagune Mistral Nebula Opal
    Palisade Rivage Sequoia Tundra Umbra Vektor Wiesen Xenon Ysel Zephyr Ardent Bruma Cirrus Étoile
""".split()
TRADES: Final = """
    Logistik Robotics Foods Optics Bau Medica Textil Energy Systems Print Solar Marine Pharma
    Consulting Möbel Analytics Packaging Aviation Ceramics Software Timber Hydraulics Travel
    Security Acoustics Agro Plastics Instruments Mobility
""".split()
LEGAL_FORMS: Final = ("GmbH", "AG", "Ltd", "Inc.", "S.A.", "Oy", "B.V.", "SARL")
PLACES: Final = """
    Bergen Graz Lyon Porto Gdańsk Turku Malmö Basel Ghent Cork Zadar Tartu Brno Verona Leiden
    Bristol Aarhus Nîmes Girona Lübeck Linz Trieste Varna Utrecht Leeds
""".split()
INDUSTRIES: Final = (
    "Manufacturing",
    "Logistics",
    "Healthcare",
    "Energy",
    "Retail",
    "Software",
    "Construction",
)
FIRST_NAMES: Final = """
    Anna Luc Ingrid Tomás Mei Jonas Zoë Pavel Aisha Søren Clara Rafael Yuki Björn Chiara Owen Nadia
    Émile Greta Hassan Lotte Mateus Olga Piotr Quinn Renée Sami Tilda Ulrich Vera Wim
""".split()
LAST_NAMES: Final = """
    Müller Lefèvre Okafor Novák García Lindqvist Tanaka Rossi Hughes Petrović Andersen Schäfer Costa
    Dubois Weiss Kowalska Byrne Nielsen Haddad Moreau Virtanen Brandt Silva Jansen Ortega Fischer
    Lambert Ivanov Castelli Wójcik Eriksson Bauer Mercier Doyle Sørensen Vogel Keller Romano
    Fontaine Hartmann Peeters Aalto Zimmermann
""".split()
JOB_TITLES: Final = (
    "Head of Procurement",
    "Managing Director",
    "Operations Manager",
    "IT Manager",
    "Plant Manager",
    "Finance Director",
    "Marketing Lead",
)
PROJECTS: Final = (
    "annual licence",
    "pilot project",
    "framework contract",
    "maintenance renewal",
    "fleet upgrade",
    "training package",
    "spare parts supply",
    "site expansion",
)
SOURCES: Final = ("website", "referral", "trade fair", "cold call", "newsletter")
LOST_REASONS: Final = ("Price", "Chose a competitor", "No budget this year", "No answer")
SUBJECTS: Final = {
    "call": ("Discovery call", "Call about open questions", "Pricing call"),
    "email": ("Sent the brochure", "Answered the delivery question", "Sent the revised quote"),
    "meeting": ("Product demonstration", "On-site visit", "Contract review"),
    "note": ("Budget comes from next year", "Decision is with the board", "Prefers calls in the morning"),
    "task": ("Send the quote", "Call back", "Prepare the contract", "Check the references"),
}
