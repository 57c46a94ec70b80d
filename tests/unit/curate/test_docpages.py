"""Docstrings as pages: what docutils renders, what a perfect extraction would find, how recall counts."""

from __future__ import annotations

import json

import pytest

from nautiloid.curate.docpages.page import url_of
from nautiloid.curate.docpages.recall import Recall
from nautiloid.curate.docpages.write import make_pages
from nautiloid.curate.page import Page
from nautiloid.data.sources.python_install import Module

pytest.importorskip("docutils", reason="installed with the extra quickstart")
from nautiloid.curate.docpages.rst import MATH_OUTPUTS, render

DOCSTRING = r"""
The norm :math:`\|x\|_2` of a vector, see :func:`numpy.linalg.norm` and :ref:`here <norms>`.

Parameters
----------
x : array
    A vector of any length.

.. versionadded:: 1.2
    Works for lists.

.. unheard-of:: yes

.. math:: \sum_{i=1}^n x_i^2 = \frac{1}{2}

.. note:: Slow & simple.

>>> if norm([3, 4]) == 5:
...     print("five")
five

`unfinished
"""
SOURCE = f'''
class Vector:
    """{"A vector of the plane, with two numbers that say where it ends. " * 4}"""

    def norm(self, order=2):
        r"""{DOCSTRING}"""
'''


@pytest.mark.parametrize("math", MATH_OUTPUTS)
def test_what_a_page_says_is_known(math):
    body, truth = render("m", [("", DOCSTRING)], math)
    assert truth.formulas == [
        (r"\|x\|_2", False),
        (r"\sum_{i=1}^n x_i^2 = \frac{1}{2}", True),
    ]
    assert truth.code == ['>>> if norm([3, 4]) == 5:\n...     print("five")\nfive']
    words = " ".join(truth.words)
    assert "see numpy.linalg.norm and here" in words
    assert "Works for lists." in words
    assert "unfinished" in words
    assert "System Message" not in body
    assert "Slow &amp; simple." in body


def test_what_docutils_cannot_read_is_a_block_of_text():
    for text in ("=\n=", ".. |x| image::", "a\n=====\nb\n-----\nc\n=====\nd\n~~~~~\n", "*" * 500):
        body, truth = render("m", [("f()", text)], "MathML")
        assert "f()" in body
        assert truth.words


def test_pages_are_extracted_nearly_whole():
    from nautiloid.curate.extract.dom import Dom

    modules = [Module(f"package.module_{i}", SOURCE, "BSD-3-Clause") for i in range(12)]
    made = make_pages(
        [*modules, Module("package.bare", "x = 1", None), Module("bad", "(", None)], 200
    )
    assert [page.url for page in made] == [url_of(module.name) for module in modules]
    recall = Recall()
    for page in made:
        document = Dom().extract(Page(id="1", content=page.html.encode(), url=page.url))
        recall.add(document.text, json.loads(json.dumps(page.truth)))
    figures = recall.figures()
    assert recall.pages == len(modules)
    assert figures["words"] > 0.97
    assert figures["precision"] > 0.95
    assert figures["code"] == 1
    assert figures["formulas/MathML"] == 1
    assert figures["formulas/MathJax"] == 1
    assert any("formulas as MathML: 100.0 %" in line for line in recall.lines())


def test_what_is_missing_lowers_the_share():
    recall = Recall()
    truth = {
        "words": ["one", "two", "two"],
        "formulas": [["x", False], ["y^2", True]],
        "encoding": "MathML",
        "code": ["a = 1"],
    }
    recall.add("one two more\n\n$$y^{2}$$\n", truth)
    assert recall.figures() == {
        "words": 0.6667,
        "precision": 0.6667,
        "code": 0.0,
        "formulas/MathML": 0.5,
    }
