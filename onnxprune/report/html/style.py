"""How the page looks. Colours are variables, once for light and once for dark; plots use the same ones."""

from __future__ import annotations

STYLE = """
:root{--paper:#fff;--ink:#1c1f23;--faint:#7d8590;--soft:#f0f2f4;--link:#0757a8;
--kept:#1f6fb4;--removed:#d8a25a;--pinned:#9aa1a9;
--line0:#0072b2;--line1:#c4510a;--line2:#00805c;--line3:#a8437f;--line4:#8a6d00;--line5:#3b3fb0}
@media(prefers-color-scheme:dark){:root{--paper:#15181c;--ink:#e4e7ea;--faint:#8b949e;--soft:#22272d;--link:#79b8ff;
--kept:#58a6e8;--removed:#a8752f;--pinned:#5d666f;
--line0:#56b4e9;--line1:#f0894a;--line2:#3fc796;--line3:#e39ac8;--line4:#d9bd3c;--line5:#a2a5f5}}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
body{margin:0 auto;max-width:68rem;padding:1rem;background:var(--paper);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;
border-bottom:1px solid var(--faint);padding-bottom:.2rem}h3{font-size:1rem;margin:1.2rem 0 .3rem}
p,ul{margin:.5rem 0}a{color:var(--link)}nav{display:flex;flex-wrap:wrap;gap:.3rem 1rem}
.note,figcaption,.why{color:var(--faint);font-size:.875rem}
@media(prefers-color-scheme:light){.note,figcaption,.why{color:#57606a}}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem}
figure{margin:0;max-width:34rem;min-width:0}
svg{display:block;width:100%;height:auto;font-family:system-ui,sans-serif;overflow:visible}
svg *{stroke-linejoin:round;stroke-linecap:butt}svg text{fill:var(--ink)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:.2rem .9rem .2rem 0;border-bottom:1px solid var(--soft)}
td,th{overflow-wrap:normal}td.name{font-family:ui-monospace,monospace;font-size:.85em;overflow-wrap:anywhere;
min-width:9rem}.right{text-align:right;white-space:nowrap}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.875rem}
.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.4em;border-radius:2px}
.groups{list-style:none;padding:0;margin:.5rem 0}.groups li{padding:.3rem 0;border-bottom:1px solid var(--soft)}
.groups b{font:600 .85em ui-monospace,monospace}.groups .of{float:right;margin-left:1rem;font-size:.875rem}
.bar{display:flex;height:.6rem;border-radius:2px;overflow:hidden;background:var(--soft);clear:both}
.bar i{display:block}
pre{background:var(--soft);padding:.7rem;border-radius:4px;white-space:pre-wrap;font-size:.85rem}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--link)}
@media print{details>*{display:block}}
"""
