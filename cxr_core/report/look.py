"""The page's style sheet. In a module, not a data file, so that the content key of the report sees it."""

CSS = """
:root { color-scheme: light dark;
  --paper: #ffffff; --sheet: #f5f6f8; --line: #d5d9df; --ink: #1b2430; --faint: #8a929c; --soft: #4f5965;
  --good: #006b49; --bad: #b3261e; --open: #7a5000; --none: #56606b; --alarm: #b3261e; --alarm-ink: #ffffff;
  --link: #0b5cad;
  --fp32: #0072b2; --tf32: #b5578f; --fp16: #c98a00; --bf16: #009e73; --fp8: #7a7a7a; --int8: #d55e00; }
@media screen and (prefers-color-scheme: dark) { :root {
  --paper: #12161b; --sheet: #1b2128; --line: #343d47; --ink: #e6eaef; --faint: #77818c; --soft: #a7b0bb;
  --good: #4fd0a3; --bad: #ff8a80; --open: #f2c063; --none: #a0a9b3; --alarm: #ffb4ab; --alarm-ink: #3b0906;
  --link: #8ab8f0;
  --fp32: #56b4e9; --tf32: #dd9bc2; --fp16: #f0b43c; --bf16: #2fc79b; --fp8: #a8a8a8; --int8: #ff8a3d; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0 auto; max-width: 100rem; padding: 1rem clamp(.75rem, 3vw, 2rem) 3rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; }
p { margin: .5rem 0; max-width: 62rem; } main > ul { max-width: 62rem; padding-left: 1.2rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
caption { text-align: left; padding: .4rem .65rem; }
a { color: var(--link); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1rem; padding: 0; margin: .8rem 0 0;
  font-size: .9rem; }
nav li { margin: 0; } nav a { display: inline-block; padding: .15rem 0; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.banner { background: var(--alarm); color: var(--alarm-ink); font-weight: 700; text-align: center; border-radius: .5rem;
  padding: .7rem 1rem; margin: .8rem 0; }
.banner.large { font-size: clamp(1.4rem, 5vw, 2.6rem); line-height: 1.2; }
.answer { font-size: 1.3rem; font-weight: 600; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(15.5rem, 1fr)); gap: .8rem; }
.card { background: var(--sheet); border: 1px solid var(--line); border-left: .45rem solid var(--tone);
  border-radius: .5rem; padding: .7rem .9rem; }
.card h3 { margin: 0; display: flex; justify-content: space-between; gap: .5rem; }
.card .word { color: var(--tone); font-size: 1.35rem; font-weight: 700; }
.card p { font-size: .9rem; margin: .3rem 0 0; overflow-wrap: anywhere; }
.pass { --tone: var(--good); } .fail, .error { --tone: var(--bad); } .inconclusive { --tone: var(--open); }
.unsupported { --tone: var(--none); } td.word { color: var(--tone); font-weight: 700; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody th { font-weight: 600; }
tr:last-child td, tr:last-child th { border-bottom: 0; }
thead :is(th, td) { background: var(--sheet); color: var(--soft); white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child, .facts td, .texts :is(th, td):nth-child(-n+4),
  .figures :is(th, td):nth-child(-n+2) { text-align: left; }
.scroll:not(.facts) :is(th, td):first-child { position: sticky; left: 0; background: var(--paper); }
.scroll:not(.facts) thead :is(th, td):first-child { background: var(--sheet); }
.facts td { white-space: normal; overflow-wrap: anywhere; }
.facts th { white-space: normal; width: 14rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.4rem 1rem;
  align-items: start; }
.stacks { columns: 28rem; column-gap: 1rem; } .stacks > * { break-inside: avoid; margin-bottom: 1.4rem; }
figure { margin: 0; } figure svg { width: 100%; height: auto; display: block; touch-action: pan-y pinch-zoom; }
figcaption { margin-top: .3rem; } li { margin: .25rem 0; } code { overflow-wrap: anywhere; }
.hint { fill: transparent; } .hint.on { stroke: var(--ink); stroke-width: 1.5; }
.tip { position: absolute; z-index: 1; max-width: min(26rem, calc(100vw - 1rem)); padding: .35rem .6rem;
  border-radius: .35rem; background: var(--ink); color: var(--paper); font-size: .85rem; line-height: 1.35;
  white-space: pre-line; pointer-events: none; }
.cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .8rem; }
.case { background: var(--sheet); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
.views { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 1px; }
.views div { position: relative; } .mapped { grid-column: span 2; }
.views span { position: absolute; left: .3rem; top: .3rem; padding: 0 .35rem; border-radius: .25rem; font-size: .75rem;
  background: #000c; color: #fff; }
.case img { display: block; width: 100%; aspect-ratio: 1; background: #000; }
.case figcaption { margin: 0; padding: .5rem .6rem; display: grid; gap: .15rem; color: var(--ink); font-size: .85rem; }
.case .otherwise { color: var(--bad); font-weight: 600; } .case .soft { font-size: .75rem; overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .8rem; }
@media (max-width: 40rem) {
  .facts :is(th, td) { display: block; width: auto; border: 0; text-align: left; padding: .1rem .65rem; }
  .facts tr { display: block; border-bottom: 1px solid var(--line); padding: .3rem 0; }
  .facts tr:last-child { border-bottom: 0; }
  .cases { grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); } .mapped { grid-column: 1 / -1; } }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  :root { color-scheme: light; }
  html { font-size: 10pt; }
  body { max-width: none; padding: 0; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  nav, .tip, .screen { display: none; }
  .scroll { overflow: visible; border-radius: 0; }
  table { font-size: 7.5pt; } th, td { padding: .15rem .3rem; white-space: normal; }
  .scroll:not(.facts) :is(th, td):first-child { position: static; }
  h2, h3 { break-after: avoid; } .card, figure, tr, li { break-inside: avoid; }
  .pair { grid-template-columns: 1fr 1fr; } .cards { grid-template-columns: repeat(4, 1fr); }
  .cases { grid-template-columns: repeat(6, 1fr); } }
"""
