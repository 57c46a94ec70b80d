r"""Names of TeX: what does not show, what draws the same, how many arguments a command takes."""

from __future__ import annotations

_UNSEEN_NAMES = (
    r"\, \; \: \! \> \/ \quad \qquad \enspace \thinspace \medspace \thickspace \negthinspace "
    r"\negmedspace \negthickspace \displaystyle \textstyle \scriptstyle \scriptscriptstyle \limits "
    r"\nolimits \nonumber \notag \left \right \middle \big \Big \bigg \Bigg \bigl \bigr \bigm \Bigl "
    r"\Bigr \Bigm \biggl \biggr \biggm \Biggl \Biggr \Biggm \mathstrut \strut \hline \relax "
    r"\allowbreak \nobreak \null \hfill \newline \par \mathopen \mathclose \mathord \mathbin \mathrel "
    r"\mathpunct \mathinner \mathop \ensuremath \smash \hbox \operatornamewithlimits \rm \mathit* "
    r"\normalsize \large \small \tiny \rlap \llap \mathrlap \mathllap \mathclap \bmod* \noindent"
)
UNSEEN = frozenset((*_UNSEEN_NAMES.split(), "\\ ", "~"))
# Commands that vanish with their argument.
DROPPED = frozenset(
    (r"\label", r"\tag", r"\hspace", r"\hspace*", r"\vspace", r"\mspace", r"\phantom", r"\hphantom",
     r"\vphantom", r"\color", r"\eqref", r"\cline", r"\tag*")
)  # fmt: skip
_UPRIGHT = r"\operatorname \operatorname* \mathrm \text \textrm \mbox \textnormal \mathup \textup"
_ROMAN = frozenset(_UPRIGHT.split())
FONTS = {
    **dict.fromkeys(_ROMAN, r"\mathrm"),
    r"\mathbf": r"\mathbf", r"\textbf": r"\mathbf", r"\boldsymbol": r"\boldsymbol",
    r"\bm": r"\boldsymbol", r"\pmb": r"\boldsymbol", r"\mathit": r"\mathit", r"\textit": r"\mathit",
    r"\mathsf": r"\mathsf", r"\textsf": r"\mathsf", r"\mathtt": r"\mathtt", r"\texttt": r"\mathtt",
    r"\mathcal": r"\mathcal", r"\mathscr": r"\mathcal", r"\mathfrak": r"\mathfrak",
    r"\mathbb": r"\mathbb", r"\Bbb": r"\mathbb", r"\mathnormal": "", r"\emph": r"\mathit",
}  # fmt: skip
RENAMED = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\dbinom": r"\binom",
    r"\tbinom": r"\binom", r"\stackrel": r"\overset", r"\widebar": r"\overline",
}  # fmt: skip
_ACCENTS = (
    r"\hat \widehat \tilde \widetilde \bar \overline \underline \vec \overrightarrow \overleftarrow "
    r"\overleftrightarrow \dot \ddot \dddot \ddddot \acute \grave \breve \check \widecheck \mathring "
    r"\overbrace \underbrace \cancel \bcancel \xcancel \boxed \substack \overparen \underparen "
    r"\xrightarrow \xleftarrow \utilde \underrightarrow \underleftarrow \overbracket \underbracket"
)
ARITY = {
    **dict.fromkeys(_ACCENTS.split(), 1),
    **dict.fromkeys(FONTS, 1),
    r"\sqrt": 1, r"\frac": 2, r"\binom": 2, r"\overset": 2, r"\underset": 2, r"\genfrac": 6,
    r"\textcolor": 2, r"\colorbox": 2, r"\pmod": 1, r"\pod": 1,
}  # fmt: skip
ENVIRONMENTS = {
    **dict.fromkeys(("align", "align*", "aligned", "split", "eqnarray", "eqnarray*", "alignat",
                     "alignat*", "alignedat", "flalign", "flalign*"), "aligned"),
    **dict.fromkeys(("gather", "gather*", "gathered", "multline", "multline*"), "gathered"),
    **dict.fromkeys(("matrix", "array", "smallmatrix", "subarray", "darray"), "matrix"),
}  # fmt: skip
FENCED = {
    "pmatrix": ("(", ")"), "bmatrix": ("[", "]"), "Bmatrix": ("\\{", "\\}"), "vmatrix": ("|", "|"),
    "Vmatrix": ("\\|", "\\|"), "cases": ("\\{", ""), "dcases": ("\\{", ""), "rcases": ("", "\\}"),
}  # fmt: skip
SPECIFIED = frozenset(("array", "alignat", "alignat*", "alignedat", "subarray", "darray"))
PLAIN_ENVIRONMENTS = frozenset(("equation", "equation*", "displaymath", "math", "subequations"))
NEGATED = {
    "=": r"\neq", r"\in": r"\notin", "<": r"\nless", ">": r"\ngtr", r"\leq": r"\nleq",
    r"\geq": r"\ngeq", r"\subset": r"\not\subset", r"\subseteq": r"\nsubseteq", r"\sim": r"\nsim",
    r"\exists": r"\nexists", "|": r"\nmid", r"\|": r"\nparallel", r"\equiv": r"\not\equiv",
    r"\cong": r"\ncong", r"\rightarrow": r"\nrightarrow", r"\Rightarrow": r"\nRightarrow",
}  # fmt: skip
BEFORE_CENTRED = frozenset(
    (*"+-=<>*", r"\cdot", r"\times", r"\leq", r"\geq", r"\rightarrow", r"\oplus", r"\otimes", r"\cup",
     r"\cap", r"\wedge", r"\vee", r"\circ", r"\pm", r"\Rightarrow", r"\in", r"\subset", r"\subseteq", r"\prec", r"\succ", r"\sim", r"\neq", r"\div", r"\int", r"\sum", r"\prod")
)  # fmt: skip
_GREEK_NAMES = (
    r"\alpha \beta \gamma \delta \epsilon \varepsilon \zeta \eta \theta \vartheta \iota \kappa \lambda "
    r"\mu \nu \xi \pi \varpi \rho \varrho \sigma \varsigma \tau \upsilon \phi \varphi \chi \psi \omega "
    r"\Gamma \Delta \Theta \Lambda \Xi \Pi \Sigma \Upsilon \Phi \Psi \Omega"
)
GREEK = frozenset(_GREEK_NAMES.split())
