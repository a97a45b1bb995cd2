"""What is looked for on a page in a browser."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def keep_screenshot(page: Page, name: str) -> None:
    """Write what is seen to the folder that LLMREC_SCREENSHOTS names, if it does."""
    folder = os.environ.get("LLMREC_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/{name}-{page.name}.png", full_page=True)


OVERLAPS = """rows => rows.filter((row) => {
  const boxes = [...row.children].map((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getBoundingClientRect();
  }).filter((box) => box.width && box.height);
  return boxes.some((a, i) => boxes.slice(i + 1).some((b) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1));
}).map((row) => row.innerText)"""
CONTRAST = """(element, property) => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  let behind = element;
  while (behind && (parts(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
  const [a, b] = [
    light(parts(getComputedStyle(element)[property])),
    light(behind ? parts(getComputedStyle(behind).backgroundColor) : [255, 255, 255]),
  ].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""
