// Renders the drawn formulas into one page an encoding with the generators that the web uses.
// node make.mjs candidates.json OUTPUT_FOLDER   (katex 0.19.1 and mathjax-full 3.2.2 from npm)
import fs from 'node:fs';
import crypto from 'node:crypto';
import {createRequire} from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.cwd(), 'x.js'));
const katex = require('katex');
const {mathjax} = require('mathjax-full/js/mathjax.js');
const {TeX} = require('mathjax-full/js/input/tex.js');
const {CHTML} = require('mathjax-full/js/output/chtml.js');
const {SVG} = require('mathjax-full/js/output/svg.js');
const {liteAdaptor} = require('mathjax-full/js/adaptors/liteAdaptor.js');
const {RegisterHTMLHandler} = require('mathjax-full/js/handlers/html.js');
const {AssistiveMmlHandler} = require('mathjax-full/js/a11y/assistive-mml.js');
const {SerializedMmlVisitor} = require('mathjax-full/js/core/MmlTree/SerializedMmlVisitor.js');
const {STATE} = require('mathjax-full/js/core/MathItem.js');
require('mathjax-full/js/input/tex/ams/AmsConfiguration.js');
require('mathjax-full/js/input/tex/newcommand/NewcommandConfiguration.js');

const [candidates, output] = process.argv.slice(2);
const adaptor = liteAdaptor();
AssistiveMmlHandler(RegisterHTMLHandler(adaptor));
const packages = ['base', 'ams', 'newcommand'];
const documents = {
  chtml: mathjax.document('', {InputJax: new TeX({packages}), OutputJax: new CHTML({fontURL: ''})}),
  svg: mathjax.document('', {InputJax: new TeX({packages}), OutputJax: new SVG({fontCache: 'none'})}),
};
const visitor = new SerializedMmlVisitor();

const escape = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const quote = (text) => escape(text).replace(/"/g, '&quot;');
const hash = (text) => crypto.createHash('sha1').update(text).digest('hex');
const draw = (kind, tex, display) => adaptor.outerHTML(documents[kind].convert(tex, {display}));

function mathml(tex, display) {
  const tree = documents.chtml.convert(tex, {display, end: STATE.COMPILED ?? STATE.CONVERT});
  const text = visitor.visitTree(tree).replace(/\n\s*/g, '').replace(/ data-mjx-[a-z-]+="[^"]*"/g, '');
  if (text.includes('merror')) throw new Error(text);
  return text;
}

const katexed = (tex, display, output) =>
  katex.renderToString(tex, {displayMode: display, output, throwOnError: true, strict: false});
const katexMathml = (tex, display) => katexed(tex, display, 'mathml').match(/<math[^]*<\/math>/)[0];
const styled = (tex) => `{\\displaystyle ${tex}}`;
const render = (tex) => `https://wikimedia.org/api/rest_v1/media/math/render/svg/${hash(tex)}`;
const block = (tex, display) => (display ? `\\[${escape(tex)}\\]` : `\\(${escape(tex)}\\)`);
const LOADER = '<script src="https://cdn.example.org/mathjax/MathJax.js?config=TeX-AMS_CHTML"></script>';
const DOLLARS = `<script>MathJax = {tex: {inlineMath: [['$', '$'], ['\\\\(', '\\\\)']]}};</script>`;

// One function an encoding: (TeX, whether display) -> HTML; `head` is what such a page loads.
const ENCODINGS = {
  delimiters: {head: LOADER, of: block},
  dollars: {
    head: DOLLARS,
    of: (tex, display) => (display ? `$$${escape(tex)}$$` : `$${escape(tex)}$`),
  },
  container: {
    head: LOADER,
    of: (tex, display) =>
      `<span class="math-container">${display ? '$$' : '$'}${escape(tex)}${display ? '$$' : '$'}</span>`,
  },
  code: {head: '', of: (tex) => `<code>${escape(tex)}</code>`},
  script: {head: LOADER, of: (tex) => `<script type="math/tex">${tex}</script>`},
  script_display: {
    head: LOADER,
    of: (tex) =>
      `<span class="MathJax_Preview">[math]</span><script type="math/tex; mode=display">${tex}</script>`,
  },
  mathml: {head: '', of: mathml},
  mathml_alttext: {
    head: '',
    of: (tex, display) => mathml(tex, display).replace('<math', `<math alttext="${quote(tex)}"`),
  },
  mathml_annotation: {head: '', of: katexMathml},
  wikipedia: {
    head: '',
    of: (tex, display) =>
      `<span class="mwe-math-element mwe-math-element-${display ? 'block' : 'inline'}">` +
      `<span class="mwe-math-mathml-inline mwe-math-mathml-a11y" style="display: none;">` +
      mathml(tex, display)
        .replace('<math', `<math alttext="${quote(styled(tex))}"`)
        .replace(/(<math[^>]*>)([^]*)<\/math>/, '$1<semantics><mrow>$2</mrow>') +
      `<annotation encoding="application/x-tex">${escape(styled(tex))}</annotation></semantics></math>` +
      `</span><img src="${render(tex)}" class="mwe-math-fallback-image-inline" aria-hidden="true" ` +
      `alt="${quote(styled(tex))}"></span>`,
  },
  katex: {
    head: '<link rel="stylesheet" href="https://cdn.example.org/katex/katex.min.css">',
    of: (tex, display) => katexed(tex, display, 'htmlAndMathml'),
  },
  katex_html: {
    head: '<link rel="stylesheet" href="https://cdn.example.org/katex/katex.min.css">',
    of: (tex, display) => katexed(tex, display, 'html'),
  },
  mathjax_chtml: {head: '', of: (tex, display) => draw('chtml', tex, display)},
  mathjax_svg: {
    head: '',
    // Outlines of glyphs are shortened: no extractor reads them.
    of: (tex, display) => draw('svg', tex, display).replace(/ d="[^"]*"/g, ' d="M0 0Z"'),
  },
  image_alt: {
    head: '',
    of: (tex, display) => {
      const image = `<img class="math" src="../_images/math/${hash(tex)}.png" alt="${quote(tex)}"/>`;
      return display ? `<div class="math"><p>${image}</p></div>` : image;
    },
  },
  image_wordpress: {
    head: '',
    of: (tex) =>
      `<img src="https://s0.wp.com/latex.php?latex=${quote(encodeURIComponent(tex))}&amp;bg=ffffff&amp;fg=000&amp;s=0" ` +
      `alt="${quote(tex)}" title="${quote(tex)}" class="latex" />`,
  },
  image_codecogs: {
    head: '',
    of: (tex) => `<img src="https://latex.codecogs.com/gif.latex?${quote(encodeURIComponent(tex))}" />`,
  },
  data_expr: {head: '', of: (tex) => `<span class="tex" data-expr="${quote(tex)}"></span>`},
};
// Beyond the table of encodings: MathML as KaTeX writes it, its source taken away.
const EXTRA = {
  mathml_katex: {
    head: '',
    of: (tex, display) => katexMathml(tex, display).replace(/<annotation[^]*?<\/annotation>/, ''),
  },
};

const drawn = JSON.parse(fs.readFileSync(candidates, 'utf8'));
const formulas = [];
const refused = [];
for (const tex of drawn.candidates) {
  if (formulas.length === 60) break;
  try {
    for (const display of [true, false]) {
      katexed(tex, display, 'html');
      mathml(tex, display);
    }
    formulas.push({tex, display: formulas.length % 3 === 0});
  } catch (error) {
    refused.push(tex);
  }
}

function page(name, {head, of}) {
  const parts = formulas.map(({tex, display}, index) => {
    const before = `In the case of number ${index} the authors of the survey found after some work that`;
    const after = `holds for number ${index}, and they gave a short argument for it in the same section.`;
    const body = of(tex, display);
    const isBlock = display && /^<(div|p)/.test(body);
    return isBlock ? `<p>${before}</p>\n${body}\n<p>${after}</p>` : `<p>${before} ${body} ${after}</p>`;
  });
  return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>A survey of formulas</title>${head}</head>
<body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/archive">Archive</a></li></ul></nav>
<main><article>
<h1>A survey of formulas</h1>
<p>This article goes through sixty formulas, one in each paragraph, and says where each of them holds.</p>
${parts.join('\n')}
</article></main>
<footer><p>Contact, imprint and privacy.</p></footer>
</body></html>
`;
}

fs.mkdirSync(output, {recursive: true});
for (const [name, encoding] of Object.entries({...ENCODINGS, ...EXTRA}))
  fs.writeFileSync(path.join(output, `${name}.html`), page(name, encoding));
const {seed, source} = drawn;
fs.writeFileSync(
  path.join(output, 'formulas.json'),
  JSON.stringify({seed, source, development: 20, refused: refused.length, formulas}, null, 0)
    .replace(/\{"tex"/g, '\n{"tex"') + '\n',
);
console.log(`${formulas.length} formulas, ${refused.length} refused by a generator`);
