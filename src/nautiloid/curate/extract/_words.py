"""Words in classes, ids and roles that say what a part of a page is."""

from __future__ import annotations

import re


def names(text: str) -> frozenset[str]:
    """A set of words written as one text."""
    return frozenset(text.split())


# Whole class or id tokens, lower case. What they name is never prose.
CHROME = names(
    """
    headerlink anchor-link anchorjs-link heading-link header-anchor hash-link heading-anchor
    anchorlink permalink-icon viewcode-link viewcode-back copybtn copy-button copybutton
    clipboard-button sphinxsidebar sphinxsidebarwrapper related rel nav-path navpath navrow
    navlist navtab docnav navheader navfooter breadcrumb breadcrumbs breadcrumb-nav wy-breadcrumbs
    wy-nav-side wy-nav-top rst-footer-buttons rst-versions mobile-nav bd-header bd-sidebar
    bd-toc bd-footer prev-next-area prev-next-bottom md-header md-sidebar md-footer md-tabs
    md-search md-content__button md-source-file md-top mw-editsection mw-jump-link mw-indicators
    mw-cite-backlink mw-panel mw-head mw-navigation mw-page-base mw-head-base mw-footer
    mw-authority-control mw-hidden-catlinks editsection catlinks printfooter sitesub contentsub
    jump-to-nav navbox navbox-styles vertical-navbox sistersitebox ambox noprint
    printonly portalbox portal-bar vector-header vector-menu vector-toc vector-page-toolbar
    vector-column-start vector-column-end vector-sticky-header vector-body-before-content
    ltx_page_navbar ltx_page_header ltx_page_footer ltx_page_logo ltx_toc ltx_pagination
    ltx_dates_footer ltx_note_mark ltx_tag_note ar5iv-footer ar5iv-nav titlearea main-nav side-nav msearchselectwindow
    msearchresultswindow msearchbox dynheader dyncontent ttc ingroups footer-nav chlinktop
    chlinkprevnexttop chlinkprevnextbot chlinkbot mathjaxlink chapsects toplinks nav-panel
    navigation-panel copiable-anchor copiable-link direntry-menu menu-preformatted nav-container
    sub-logo-container search-form search-options srclink src-link test-arrow out-of-band
    rightside hideme sphx-glr-download-link-note sphx-glr-signature sphx-glr-footer
    sphx-glr-timing edit-this copy-path toggle-wrapper mobile-topbar rustdoc-topbar rustdoc-breadcrumbs
    left-sidebar right-sidebar topbar s-topbar site-footer site-header site-nav site-navigation
    js-vote-count js-voting-container votecell post-menu js-post-menu user-info post-signature
    postcell-footer js-post-notices comments-link js-add-link js-comments-menu comment-copy-menu
    comment-form comment-respond comment-reply comment-edit comment-flagging comment-score
    js-comment-edit-hide bottom-notice answers-subheader js-consent-banner module-sidebar-linked
    module-sidebar-related post-taglist js-filter-btn new-post-login respond reply-link
    comment-reply-link comment-meta-actions postprofile post-buttons postfoot postbit-controls
    postcontrols userinfo author-card user-signature js-signature topic-map topic-footer suggested-topics
    post-controls post-menu-area quick-reply quickreply sharedaddy sd-sharing jp-relatedposts
    addtoany addthis addthis_toolbox share-buttons sharebuttons social-links social-icons
    social-share socialshare follow-us post-navigation posts-navigation nav-links nav-previous
    nav-next nav-below nav-above post-nav pager pagination paginate pagenav page-links
    wp-pagenavi related-posts relatedposts related-articles related-content related-links
    recommended recommendations read-more more-link readmore tagcloud tag-cloud tag-links
    cat-links entry-utility entry-footer post-footer postmetadata post-tags post-categories
    cookie cookies cookie-banner cookie-notice cookie-consent cookieconsent gdpr consent-banner
    newsletter newsletter-signup subscribe subscription subscribe-form signup sign-up login-form
    loginform login searchform searchbox search-box search-bar searchbar site-search quicksearch
    sidebar sidebars side-bar sidenav sidemenu side-menu leftnav rightnav leftcol-nav topnav
    bottomnav navbar nav-bar navmenu nav-menu nav navigation menu menubar main-menu mainmenu
    submenu dropdown-menu offcanvas hamburger skip-link skiplink skip-links skip-to-content
    skip-nav screen-reader-text sr-only visually-hidden visuallyhidden screenreader-only
    assistive-text back-to-top backtotop scroll-top to-top gotop advert adverts advertisement
    advertisements adsense adsbygoogle ad-container ad-slot ads adbox sponsor sponsors sponsored
    promo promotion popup modal lightbox overlay toast tooltip tooltiptext edit-link edit-page
    edit-this-page editlink edit-on-github page-edit feedback-widget was-this-helpful
    page-feedback print-link printlink copyright copyright-notice colophon site-info siteinfo
    legal powered-by disclaimer-footer footer footers page-footer pagefooter footernav
    bottom-bar toc tocbox table-of-contents tableofcontents page-toc localtoc local-toc
    toc-wrapper in-page-toc mini-toc minitoc language-switcher lang-switcher language-selector
    version-switcher code-copy copy-code-button code-toolbar-item input_prompt output_prompt
    jp-inputprompt jp-outputprompt prompt-number subnav subnavlist sub-nav sub-nav-list selflink
    annottext
    """
)

# Line numbers and numbered prompts beside code; they go where they hold numbers alone.
GUTTERS = names(
    """
    linenos lineno linenodiv line-numbers line-numbers-rows gutter rouge-gutter hljs-ln-numbers
    blob-num js-line-number lnt ln src-line-numbers line-number linenumber linenumbers gl
    crayon-nums lines-num prompt
    """
)

# Elements that are listings without being `pre`.
LISTINGS = names("fragment syntaxhighlighter js-file-line-container crayon-pre")

# Classes of elements that are the title of the page without being a heading.
TITLES = names("title pagetitle page-title entry-title post-title article-title")

# Parts of a token between hyphens and underscores with the same meaning.
CHROME_PARTS = names(
    """
    sidebar navbar breadcrumb breadcrumbs cookie cookies advert advertisement adsense newsletter
    sharing pagination pager footer offcanvas megamenu navigation nav topbar menubar sharethis
    addthis addtoany disqus masthead
    """
)

# What a token with such a part names is a frame around the page, not the part itself.
FRAME_PARTS = names(
    """
    has with no without hide layout wrapper wrap page body content main container inner article
    """
)

# Suspicious only: such parts go when they are short or full of links.
WEAK = names(
    """
    header head topmatter metadata banner toolbar tools buttons button actions widget widgets meta tags
    tag tagged categories author byline bio share social related links link-list prev next
    previous up hat topics menu aside login search form popular recent latest archive
    archives sponsor promo comments-title ingroups summary legend-links logo branding
    social-media
    """
)

# An `aside` of such a class is content, as is one with a role of DPUB-ARIA: docutils, Sphinx, pandoc.
NOTES = names(
    """
    footnote footnotes footnote-list citation citations citation-list endnote endnotes references
    topic admonition note warning tip important caution example theorem proof
    """
)

# Where the content is, best first; tokens of class and id.
MAIN = (
    frozenset(
        {"mw-parser-output", "ltx_document", "articlebody", "s-prose-root", "page_content_main"}
    ),
    names(
        """
    mw-content-text ltx_page_content article-body article-content article__body article__content
    articlecontent entry-content post-content post-body postbody-content post__content
    blog-post-content story-body markdown-body rst-content md-content__inner bd-article
    jp-notebook nb-notebook docmaincontent theme-doc-markdown page-content-body body-content
    notebook-container
    """
    ),
    names(
        """
    bodycontent documentwrapper body doc-content contents docs-content main-content maincontent
    page-content pagecontent primary-content content-main maincolumn main-column mainbar
    mainbody article post hentry textcontent node-content field-name-body
    """
    ),
    frozenset({"content", "main", "primary", "document", "contentbody", "page-body", "text"}),
)

# What readers wrote below the content; mathematicians do so at length.
COMMENTS = names(
    "comments commentlist comment-list comments-list comments-area commentarea comment-thread"
)

# What styles show in front of an inline element.
BEFORE = {"classifier": " : ", "ltx_bibblock": " "}

BLANK_ROLES = frozenset({"presentation", "none"})
CHROME_ROLES = names(
    """
    navigation banner contentinfo search complementary menu menubar toolbar dialog alertdialog
    tablist tooltip doc-toc doc-pagelist doc-index-nav
    """
)

PARTS = re.compile(r"[-_]+|(?<=[a-z])(?=[A-Z])")

LANGUAGE = re.compile(
    r"(?:^|[\s;])(?:language-|lang-|highlight-source-|highlight-text-|highlight-|brush:\s*|src-|code-lang-"
    r"|sourcecode\s+|prettyprint\s+lang-|hljs\s+(?:language-)?)([a-z][\w+#.-]*)"
)
# Names that highlighters use, and the usual name; empty where they say nothing.
LANGUAGES = {
    "default": "python",
    "ipython": "python",
    "ipython2": "python",
    "ipython3": "python",
    "python3": "python",
    "py": "python",
    "py3": "python",
    "pycon3": "pycon",
    "c++": "cpp",
    "cxx": "cpp",
    "js": "javascript",
    "sh": "bash",
    "shell": "bash",
    "shell-session": "console",
    "none": "",
    "text": "",
    "plain": "",
    "plaintext": "",
    "txt": "",
    "guess": "",
    "notranslate": "",
    "auto": "",
    "source": "",
    "container": "",
    "wrapper": "",
    "literal-block": "",
    "nohighlight": "",
    "no-highlight": "",
}

# Blocks whose whole text is one of these say nothing about the subject of the page.
PHRASES = re.compile(
    r"""(?ix)
    (?: skip\s+to\s+(?:main\s+|the\s+)?(?:content|navigation|search) | jump\s+to\s+(?:navigation|search|content)
      | back\s+to\s+top | top\s+of\s+page | (?:go\s+)?(?:to\s+)?(?:the\s+)?top | return\s+to\s+top
      | edit(?:\s+(?:this\s+page|on\s+git\w+|source|page|section))? | view\s+(?:page\s+)?source | show\s+source
      | suggest\s+(?:an\s+)?edits? | improve\s+this\s+(?:page|question|answer) | report\s+(?:a\s+bug|an?\s+issue|this)
      | (?:share|tweet|pin|like|follow|print|e?mail|subscribe|reply|quote|report|flag|save|cite|bookmark)
        (?:\s+(?:this|on|via|to|us|article|page|post|link))*(?:\s+(?:facebook|twitter|x|reddit|linkedin|email))?
      | share\s*:? | tags?\s*:? | leave\s+a\s+(?:comment|reply) | add\s+(?:a\s+)?comment | post\s+a\s+comment
      | log\s*in(?:\s+to\s+\w+)? | sign\s*(?:in|up) | register | search | menu | home | sitemap | site\s+map
      | toggle\s+(?:navigation|menu|sidebar|table\s+of\s+contents[\w\s]*|the\s+table\s+of\s+contents) | hide | show
      | close | advertisements? | loading\.{0,3} | (?:next|prev(?:ious)?)(?:\s+(?:page|post|article|topic|chapter|section))?
      | (?:was\s+this\s+(?:page|article)\s+helpful\??) | table\s+of\s+contents | on\s+this\s+page | contents
      | generated\s+(?:on|by)\b.{0,160} | powered\s+by\b.{0,80} | built\s+with\b.{0,80} | created\s+using\b.{0,80}
      | (?:\(c\)\s*(?:19|20)\d\d|\u00a9).{0,160} | copyright\b.{0,60}(?:19|20)\d\d.{0,120} | all\s+rights\s+reserved\.? | last\s+(?:updated|modified|changed)\b.{0,80}
      | go\s+to\s+the\s+(?:documentation|source\s+code)\s+of\s+this\s+file
      | the\s+documentation\s+for\s+this\s+\w+\s+was\s+generated\s+from\s+the\s+following\s+files?
      | expand\s+description | reply\s+with\s+quote
      | please\s+enable\s+javascript.{0,120} | this\s+page\s+requires\s+javascript.{0,80}
    )[\s.:!>\u00bb|]*
    """
)

# Their first words, without the marks behind them: most blocks start with another.
PHRASE_STARTS = names(
    """
    skip jump back top go to the return edit view show suggest improve report share tweet pin like
    follow print email e-mail mail subscribe reply quote flag save cite bookmark tag tags leave add
    post log login sign register search menu home sitemap site toggle hide close advertisement
    advertisements loading next prev previous was table on contents generated powered built created
    (c) copyright all last please this expand
    """
)

# A line of links with such words moves through a manual and says nothing else.
STEPS = re.compile(
    r"(?i)(?:^|[\s\[(|<>\u00ab\u00bb\u2190\u2192])(?:next|prev(?:ious)?|up|home|contents|index|top|back|forward|toc|modules?)\b"
)

# A link that is one such step says so in its first words or its last one.
STEP = re.compile(
    r"""(?ix)
    ^\W* (?: (?:back|go|return)\s+(?:to\s+)? )? (?:the\s+)?
      (?: next|prev(?:ious)?|up|home|contents|index|top|back|forward|toc )\b
    | \b(?: next|prev(?:ious)?|up|home|contents|index|top|back|forward|toc ) \W* $
    """
)
