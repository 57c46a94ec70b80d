// One JSON line {tex, display} in, one JSON line {katex, mathjax} out: HTML as their servers write it.
const readline = require('readline');
const katex = require('katex');
const {mathjax} = require('mathjax-full/js/mathjax.js');
const {TeX} = require('mathjax-full/js/input/tex.js');
const {CHTML} = require('mathjax-full/js/output/chtml.js');
const {liteAdaptor} = require('mathjax-full/js/adaptors/liteAdaptor.js');
const {RegisterHTMLHandler} = require('mathjax-full/js/handlers/html.js');
const {AssistiveMmlHandler} = require('mathjax-full/js/a11y/assistive-mml.js');
const {AllPackages} = require('mathjax-full/js/input/tex/AllPackages.js');

const adaptor = liteAdaptor();
AssistiveMmlHandler(RegisterHTMLHandler(adaptor));
const page = mathjax.document('', {
  InputJax: new TeX({packages: AllPackages}),
  OutputJax: new CHTML({fontURL: '.'}),
});

readline.createInterface({input: process.stdin}).on('line', (line) => {
  const {tex, display} = JSON.parse(line);
  const out = {};
  try {
    out.katex = katex.renderToString(tex, {displayMode: display, throwOnError: true, strict: 'ignore'});
    const html = adaptor.outerHTML(page.convert(tex, {display}));
    // what MathJax does not know it writes in red
    if (!/merror|mathcolor="red"/.test(html)) out.mathjax = html;
  } catch (error) {
    // a formula that one of them refuses stays as it was in the page
  }
  process.stdout.write(JSON.stringify(out) + '\n');
});
