"""The style sheet of the report's page, and the script that draws its figures and sorts its table."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root{--ink:#1f2933;--muted:#6b7785;--line:#e3e8ed;--soft:#f6f8fa;--good:#0f8a5f;--bad:#c0392b;--accent:#2f6fb0}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:var(--ink);
 font:15px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
main{max-width:1240px;margin:0 auto;padding:40px 28px 80px}
h1{font-size:28px;line-height:1.25;margin:0 0 4px;font-weight:650;overflow-wrap:anywhere}
h2{font-size:19px;margin:0 0 6px;font-weight:620}
h3{font-size:15px;margin:0;font-weight:620;overflow-wrap:anywhere}
section{margin-top:48px}
.sub,.lead,figcaption,.domain{color:var(--muted)}
.sub,.lead{margin:0 0 14px;max-width:80ch;overflow-wrap:anywhere}
.bad{color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:14px;margin-top:26px}
.card{border:1px solid var(--line);border-radius:10px;padding:12px 16px;min-width:0}
.what,.remark{font-size:12.5px;color:var(--muted);overflow-wrap:anywhere}
.value{font-size:23px;font-weight:620;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.two{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:18px 28px;align-items:start}
.wide{display:grid;grid-template-columns:minmax(0,6fr) minmax(0,8fr);gap:28px;align-items:start}
.parameter{border-top:1px solid var(--line);padding-top:14px;margin-top:18px}
.domain{font:12.5px ui-monospace,SFMono-Regular,Menlo,monospace;overflow-wrap:anywhere}
figure{margin:0;min-width:0}
figcaption{font-size:13px;margin-top:2px}
.chart{width:100%}
.scroll{overflow-x:auto}
.tall{max-height:620px;overflow-y:auto;border:1px solid var(--line);border-radius:10px}
table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums}
.pairs{width:100%}
.pairs th,.pairs td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);
 vertical-align:top;overflow-wrap:break-word;max-width:420px}
.pairs tbody th{font-weight:450;color:var(--muted);max-width:340px}
.pairs thead th{font-weight:450;color:var(--muted);font-size:12.5px}
.trials{width:100%}
.trials th{position:sticky;top:0;background:var(--soft);text-align:left;padding:8px 12px;font-weight:550;
 white-space:nowrap;cursor:pointer;max-width:220px;overflow:hidden;text-overflow:ellipsis;z-index:1}
.trials th[data-order='1']::after{content:' ↑'}
.trials th[data-order='-1']::after{content:' ↓'}
.trials td{padding:5px 12px;border-top:1px solid var(--line);white-space:nowrap;max-width:220px;
 overflow:hidden;text-overflow:ellipsis}
.trials td.note{color:var(--muted);max-width:360px}
.trials tr.best{background:#eaf6f1}
.trials tr.found{outline:2px solid var(--accent);outline-offset:-2px}
.pill{font-size:11.5px;padding:1px 8px;border-radius:9px;background:var(--soft);color:var(--muted)}
.pill.completed{background:#e8f1fa;color:#235a92}.pill.stopped{background:#fbf1dc;color:#8a6312}
.pill.failed{background:#fbe9e7;color:#a93226}.pill.running{background:#f0ebf8;color:#5f4591}
.filter{font:inherit;font-size:13.5px;padding:6px 12px;border:1px solid var(--line);border-radius:8px;
 margin-bottom:10px;width:min(320px,100%)}
.bar{height:9px;border-radius:4px;background:var(--accent);min-width:1px}
.bars{display:grid;grid-template-columns:fit-content(45%) minmax(60px,1fr) max-content;gap:6px 14px;
 align-items:center;max-width:760px;font-size:13.5px}
.bars>div:first-child{overflow-wrap:anywhere}
@media (max-width:820px){main{padding:24px 14px 60px}.two,.wide{grid-template-columns:minmax(0,1fr)}}
@media print{.tall{max-height:none}.filter{display:none}section,.parameter{break-inside:avoid}}
"""

SCRIPT = """
'use strict';
const draw = box => {
  const source = box.querySelector('script');
  if (!source) return;
  const figure = JSON.parse(source.textContent);
  source.remove();
  const options = {responsive: true, displaylogo: false, displayModeBar: false};
  Plotly.newPlot(box, figure.data, figure.layout, options)
    .then(() => box.on('plotly_click', event => show(event.points[0].customdata)));
};
const show = number => {
  const row = document.getElementById('trial-' + number);
  if (!row) return;
  document.querySelectorAll('tr.found').forEach(other => other.classList.remove('found'));
  row.classList.add('found');
  row.scrollIntoView({block: 'center', behavior: 'smooth'});
};
const boxes = document.querySelectorAll('.chart');
const seen = new IntersectionObserver(entries => entries.forEach(entry => {
  if (!entry.isIntersecting) return;
  seen.unobserve(entry.target);
  draw(entry.target);
}), {rootMargin: '600px'});
boxes.forEach(box => seen.observe(box));
addEventListener('beforeprint', () => boxes.forEach(draw));
document.querySelectorAll('.trials').forEach(table => {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener('click', () => {
    const order = head.dataset.order === '1' ? -1 : 1;
    heads.forEach(other => delete other.dataset.order);
    head.dataset.order = order;
    const key = row => row.cells[column].dataset.key;
    const rows = [...body.rows].sort((a, b) => {
      const x = parseFloat(key(a)), y = parseFloat(key(b));
      if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
      if (!isNaN(x)) return order * (x - y);
      return order * a.cells[column].textContent.localeCompare(b.cells[column].textContent);
    });
    body.append(...rows);
  }));
  const filter = table.closest('section').querySelector('.filter');
  filter.addEventListener('input', () => {
    const wanted = filter.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
});
"""
