"""A figure as SVG inside a page, where a script can hide its parts and every mark says its value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_LOCAL = re.compile(r"(?<=url\(#)|^#")


def inline_svg(svg: bytes, prefix: str, titles: Mapping[str, Sequence[str]], label: str) -> str:
    """Return an SVG file of matplotlib as an element of a page.

    ``prefix`` begins its ids, so that several figures of a page do not share any. ``titles`` are by the ``gid`` of a
    line of markers: what each marker says when a mouse rests on it. ``label`` is the text for who cannot see it.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for gid, texts in titles.items():
        line = root.find(f".//{{{_SVG}}}g[@id='{gid}']")
        marks = [] if line is None else line.findall(f".//{{{_SVG}}}use")
        if len(marks) != len(texts):
            raise ValueError(f"the figure has {len(marks)} marks of {gid}, and {len(texts)} texts were given")
        for mark, text in zip(marks, texts, strict=True):
            ElementTree.SubElement(mark, f"{{{_SVG}}}title").text = text
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                element.set(name, f"{prefix}{value}")
            elif name == f"{{{_XLINK}}}href" or "url(#" in value:
                element.set(name, _LOCAL.sub(lambda found: f"{found[0]}{prefix}", value))
    root.attrib |= {"role": "img", "aria-label": label}
    for size in ("width", "height"):  # the page's style decides
        root.attrib.pop(size, None)
    return ElementTree.tostring(root, encoding="unicode")
