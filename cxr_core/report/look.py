"""The page's style sheet. In a module, not a data file, so that the content key of the report sees it."""

CSS = """
:root { color-scheme: light dark;
  --paper: #ffffff; --sheet: #f5f6f8; --line: #d5d9df; --ink: #1b2430; --faint: #8a929c; --soft: #56606c;
  --good: #00734f; --bad: #b3261e; --open: #8a5a00; --none: #606a75; --alarm: #b3261e; --alarm-ink: #ffffff;
  --fp32: #0072b2; --tf32: #b5578f; --fp16: #c98a00; --bf16: #009e73; --fp8: #7a7a7a; --int8: #d55e00; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #12161b; --sheet: #1b2128; --line: #343d47; --ink: #e6eaef; --faint: #77818c; --soft: #a7b0bb;
  --good: #4fd0a3; --bad: #ff8a80; --open: #f2c063; --none: #a0a9b3; --alarm: #ffb4ab; --alarm-ink: #3b0906;
  --fp32: #56b4e9; --tf32: #dd9bc2; --fp16: #f0b43c; --bf16: #2fc79b; --fp8: #a8a8a8; --int8: #ff8a3d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem clamp(.75rem, 3vw, 2rem) 3rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { margin: .5rem 0; } .soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
.banner { background: var(--alarm); color: var(--alarm-ink); font-weight: 700; text-align: center; border-radius: .5rem;
  padding: .7rem 1rem; margin: .8rem 0; }
.banner.large { font-size: clamp(1.4rem, 5vw, 2.6rem); line-height: 1.2; }
.answer { font-size: 1.3rem; font-weight: 600; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(15.5rem, 1fr)); gap: .8rem; }
.card { background: var(--sheet); border: 1px solid var(--line); border-left: .45rem solid var(--tone);
  border-radius: .5rem; padding: .7rem .9rem; }
.card h3 { margin: 0; font-size: 1rem; display: flex; justify-content: space-between; gap: .5rem; }
.card .word { color: var(--tone); font-size: 1.35rem; font-weight: 700; }
.card p { font-size: .9rem; margin: .3rem 0 0; overflow-wrap: anywhere; }
.pass { --tone: var(--good); } .fail, .error { --tone: var(--bad); } .inconclusive { --tone: var(--open); }
.unsupported { --tone: var(--none); } td.word { color: var(--tone); font-weight: 700; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .65rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
tr:last-child td, tr:last-child th { border-bottom: 0; } thead th { background: var(--sheet); color: var(--soft); }
th:first-child, td:first-child, .facts td, .texts :is(th, td):nth-child(-n+4),
  .figures :is(th, td):nth-child(-n+2) { text-align: left; }
.facts td { white-space: normal; overflow-wrap: anywhere; }
.facts th { font-weight: 600; white-space: normal; width: 14rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem;
  align-items: start; }
figure { margin: 0; } figure svg { width: 100%; height: auto; display: block; }
figcaption { margin-top: .3rem; } li { margin: .25rem 0; } code { overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .8rem; }
"""
