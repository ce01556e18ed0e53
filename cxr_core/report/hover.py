"""The page's only script: a figure's nearest hint under pointer, finger or arrow keys.

Without it (a mail program, a strict viewer) a browser still shows each hint's ``<title>``. In a module, not a data
file, so that the content key of the report sees it.
"""

import base64
import hashlib

SCRIPT = """
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
tip.hidden = true;
document.body.append(tip);
let asked = null;
const REACH = 40, TOGETHER = 3;  // of the figure's own units, 72 an inch
for (const svg of document.querySelectorAll("figure svg")) {
  const hints = [...svg.querySelectorAll(".hint")].map(circle => ({
    circle, x: +circle.getAttribute("cx"), y: +circle.getAttribute("cy"), text: circle.textContent,
  }));
  if (!hints.length) continue;
  for (const hint of hints) hint.circle.replaceChildren();  // else the browser adds a bubble of its own
  let at = -1;
  const hide = () => {
    hints[at]?.circle.classList.remove("on");
    at = -1;
    if (asked === svg) tip.hidden = true;  // a figure that loses the focus must not hide what the next one says
  };
  const show = index => {
    hide();
    at = index;
    asked = svg;
    const {circle, x, y} = hints[index];
    circle.classList.add("on");
    const near = hints.filter(other => Math.hypot(other.x - x, other.y - y) < TOGETHER);
    tip.textContent = [...new Set(near.map(hint => hint.text))].slice(0, 9).join("\\n");
    tip.hidden = false;
    const place = circle.getBoundingClientRect(), width = document.documentElement.clientWidth;
    const above = place.top - tip.offsetHeight - 8;
    const left = Math.max(8, Math.min(place.left - tip.offsetWidth / 2, width - tip.offsetWidth - 8));
    tip.style.left = left + scrollX + "px";  // of the page, so that it stays with its figure when that is scrolled
    tip.style.top = (above > 8 ? above : place.bottom + 8) + scrollY + "px";
  };
  const follow = event => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const away = hints.map(hint => Math.hypot(hint.x - point.x, hint.y - point.y));
    const nearest = away.indexOf(Math.min(...away));
    if (away[nearest] > REACH) hide(); else show(nearest);
  };
  svg.tabIndex = 0;
  svg.addEventListener("pointermove", follow);
  svg.addEventListener("pointerdown", follow);
  svg.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") hide(); });
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", event => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (step) { event.preventDefault(); show((Math.max(at, step < 0 ? 0 : -1) + step + hints.length) % hints.length); }
    if (event.key === "Escape") hide();
  });
}
"""


def policy() -> str:
    """The page's content security policy: this script and no other, embedded pictures, and no network at all."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
