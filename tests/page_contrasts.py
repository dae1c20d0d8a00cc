"""Whether a page that was opened from disk asks for nothing, and how each of its texts stands out."""

import re

from fix_browser import Opened

# of every visible text: its contrast with what lies behind it (WCAG 2.1), marks of a plot included
CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (css) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = (top, below, alpha) => below.map((it, i) => top[i] * alpha + it * (1 - alpha));
  const light = (c) => {
    const [r, g, b] = c.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (element) => { for (let e = element; e; e = e.parentElement) {
    const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > .99) return c.slice(0, 3); }
    return [255, 255, 255]; };
  const found = [];
  const judge = (text, colour, ground) => {
    const [a, b] = [light(colour), light(ground)].sort((x, y) => y - x);
    found.push([text.trim().slice(0, 40), (a + .05) / (b + .05)]); };
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility() || e.closest('.hidden')) continue;
    const own = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent).join('').trim();
    if (!own) continue;
    if (e instanceof SVGElement) {
      const box = e.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
      let ground = behind(e.closest('section'));
      for (const mark of e.closest('svg').querySelectorAll('.mark-rect path')) {
        const m = mark.getBoundingClientRect();
        if (m.x < x && x < m.right && m.y < y && y < m.bottom) {
          const style = getComputedStyle(mark);
          ground = over(rgba(style.fill), ground, Number(style.fillOpacity));
        }
      }
      judge(own, rgba(getComputedStyle(e).fill), ground);
    } else judge(own, rgba(getComputedStyle(e).color), behind(e));
  }
  return found;
}"""


def assert_readable(opened: Opened, scheme: str) -> None:
    """The page came from one file, complained of nothing, and every text of it stands out in this colour scheme."""
    assert [url for url in opened.requests if url.split(":")[0] not in ("file", "data")] == []
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1
    assert opened.complaints == []
    ground = opened.all("getComputedStyle(document.body).backgroundColor")
    lightness = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3
    assert lightness > 200 if scheme == "light" else lightness < 60
    opened.all("document.querySelectorAll('details').forEach(it => it.open = true)")
    contrasts = opened.all(CONTRASTS)
    assert len(contrasts) > 200
    assert [(text, round(ratio, 2)) for text, ratio in contrasts if ratio < 4.5] == []
