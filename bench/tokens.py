"""How near `crm_mcp.tokens` comes to the tokens that texts take.

`python bench/tokens.py` prints it for ordinary and for random texts; `--write` writes `tokens.txt` anew: the
first tokens of o200k_base, in base64, a line each.
"""

from __future__ import annotations

import argparse
import random
import statistics
import string
import warnings
from base64 import b64encode
from functools import cache
from pathlib import Path

import crm_mcp.tokens

LISTED = Path(crm_mcp.tokens.__file__).with_suffix(".txt")
COUNT = 50_000


def first_tokens() -> str:
    listed = (b64encode(_encoding().decode_single_token_bytes(token)) for token in range(COUNT))
    return "\n".join(token.decode() for token in listed) + "\n"


def tokens(text: str) -> int:
    return len(_encoding().encode(text))


@cache
def _encoding():  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import bpe_openai  # noqa: PLC0415

        return bpe_openai.get_encoding("o200k_base")


def _range(first: int, last: int) -> str:
    return "".join(chr(code) for code in range(first, last) if chr(code).isprintable())


ALPHABETS = {
    "lower": string.ascii_lowercase,
    "upper": string.ascii_uppercase,
    "letters": string.ascii_letters,
    "letters, digits": string.ascii_letters + string.digits,
    "rare letters": "qxzjvkwyf",
    "punctuation": string.punctuation,
    "ASCII": string.printable[:94],
    "Latin-1": _range(0xA0, 0x100),
    "Cyrillic": _range(0x410, 0x450),
    "Greek": _range(0x391, 0x3CA),
    "Arabic": _range(0x621, 0x64B),
    "Thai": _range(0xE01, 0xE5C),
    "Devanagari": _range(0x900, 0x980),
    "kana": _range(0x3040, 0x3100),
    "CJK": _range(0x4E00, 0xA000),
    "Hangul": _range(0xAC00, 0xD7A4),
    "cuneiform": _range(0x12000, 0x12300),
    "numerals": "".join(filter(str.isnumeric, _range(0x80, 0x3000))) + string.digits,
    "marks": _range(0x300, 0x370) + string.ascii_letters + string.punctuation,
    "capitals": _range(0x10A0, 0x1100) + _range(0x531, 0x588) + _range(0x400, 0x530),
    "emoji": _range(0x1F300, 0x1F650),
    "anything": _range(0x20, 0x20000),
}
ORDINARY = {
    "lead": "- Roof assessment · Kestrel Solar Ltd · Qualified · EUR 45,000 · close 2026-12-01 · 1234abcd",
    "English": "Harrington & Worthington Precision Engineering International Ltd",
    "French": "Société Générale d'Équipements Électroménagers et d'Outillage Spécialisé SARL",
    "German": "Müller-Schönbächler Präzisionswerkzeugbaugesellschaft für Süddeutschland mbH",
    "Polish": "Przedsiębiorstwo Wielobranżowe Żółćkowski i Wspólnicy Spółka z o.o.",
    "Russian": "Общество с ограниченной ответственностью «Северо-Западная Компания»",
    "Japanese": "株式会社東京国際精密機械製造研究開発センター東日本営業本部",
    "Chinese": "北京市海淀区中关村科技发展有限责任公司国际贸易部",
    "Korean": "대한민국국제정밀기계제조주식회사 서울특별시본사 영업부",
    "Arabic": "شركة الخليج العربي للصناعات الهندسية الدقيقة والتجارة الدولية المحدودة",
    "Thai": "บริษัท อุตสาหกรรมเครื่องจักรความแม่นยำระหว่างประเทศ จำกัด (มหาชน)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write tokens.txt anew")
    if parser.parse_args().write:
        LISTED.write_text(first_tokens(), "ascii")
    print("estimate / tokens of 400 random texts of 60 characters, a seventh of them spaces")
    chance = random.Random(1)  # noqa: S311
    for name, alphabet in ALPHABETS.items():
        shares = []
        for _ in range(400):
            text = "".join(
                chance.choice(alphabet + " " * (len(alphabet) // 6 + 1)) for _ in range(60)
            ).strip()
            shares.append(crm_mcp.tokens.tokens_at_most(text) / tokens(text))
        print(f"{name:16} least {min(shares):.2f}, median {statistics.median(shares):.2f}")
    print("of ordinary texts")
    for name, text in ORDINARY.items():
        print(f"{name:16} {crm_mcp.tokens.tokens_at_most(text)} / {tokens(text)}")


if __name__ == "__main__":
    main()
