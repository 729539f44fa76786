"""A flipbook: the pictures of a slider in one HTML figure that needs no kernel, no network and no library.

It works in a trusted notebook, in the HTML book, and from a file on disk. Where scripts are taken out (an untrusted
notebook, a code host), the still picture of the middle setting remains.

Frames share most of their lines (axes, ticks, labels), so each line is stored once:

    {"lines": ["<svg ...", "<g>", ...], "frames": [[0, 1, 2, ...], [0, 1, 7, ...]], ...}
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

FRAMES_MOST = 24


@dataclass(frozen=True)
class Control:
    """One slider of the page: its name, the words of its choices, and the one it starts at."""

    name: str
    choices: Sequence[str]
    start: int


def flipbook(frames: Sequence[str], controls: Sequence[Control], label: str, caption: str | None = None) -> str:
    """Build the figure.

    Args:
        frames: SVGs; the last control turns fastest, as in nested loops.
        controls: sliders; the product of their choices is the number of frames.
        label: what the picture shows, for those who hear it.
        caption: a line below the picture.
    """
    start = 0
    for control in controls:
        start = start * len(control.choices) + control.start
    numbers: dict[str, int] = {}
    pages = [[numbers.setdefault(line, len(numbers)) for line in frame.split("\n")] for frame in frames]
    data = {
        "label": label,
        "choices": [list(each.choices) for each in controls],
        "lines": list(numbers),
        "frames": pages,
    }
    script = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/").replace("<!", "\\u003c!")
    here = ", ".join(f"{each.name} = {each.choices[each.start]}" for each in controls)
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure class="frugal-explore" style="margin:0" oninput="{html.escape(_TURN)}">'
        f"{''.join(map(_slider, controls))}"
        f'<img src="{_data_uri(frames[start])}" alt="{html.escape(f"{label}; {here}")}" style="max-width:100%">'
        f'{below}<script type="application/json">{script}</script></figure>'
    )


# The sliders' positions number a frame; its lines make the picture.
_TURN = (
    "const d=JSON.parse(this.querySelector('script').textContent),s=[];let k=0;"
    "this.querySelectorAll('input').forEach((e,i)=>{const w=d.choices[i][e.value];k=k*d.choices[i].length+ +e.value;"
    "e.setAttribute('aria-valuetext',w);e.nextElementSibling.value=w;s.push(e.name+' = '+w)});"
    "const m=this.querySelector('img');m.alt=d.label+'; '+s.join(', ');"
    "m.src='data:image/svg+xml,'+encodeURIComponent(d.frames[k].map(i=>d.lines[i]).join('\\n'))"
)


def _slider(control: Control) -> str:
    """One labelled slider; without data-lm-suppress-shortcuts JupyterLab keeps the arrow keys for itself."""
    name, here = html.escape(control.name), html.escape(control.choices[control.start])
    return (
        '<label style="display:flex;align-items:center;gap:8px">'
        f'<span style="min-width:90px">{name}</span>'
        f'<input type="range" name="{name}" min="0" max="{len(control.choices) - 1}" value="{control.start}" '
        f'aria-valuetext="{here}" data-lm-suppress-shortcuts="true" style="width:260px"><output>{here}</output></label>'
    )


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
