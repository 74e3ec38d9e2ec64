#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks where the documents point: files, headings, and paths between backticks.

usage: links.py ROOT

TAP on standard output, one case per document. Addresses of other sites are not visited.
"""
import pathlib
import re
import sys

FENCE = re.compile(r'^(```|~~~).*?^\1', re.M | re.S)
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
PATH = re.compile(r'`((?:calibrate|cmake|cross|docs|include|lib|man|samples|shaders|tests)/[^\s`]*)`')


def slugs(text):
    """The anchors that headings have: lower case, without punctuation, hyphens for spaces."""
    found = set()
    for heading in re.findall(r'^#+ +(.*)$', FENCE.sub('', text), re.M):
        words = re.sub(r'[^\w\- ]', '', heading.replace('`', '').lower())
        found.add(words.strip().replace(' ', '-'))
    return found


def complaints(root, document):
    text = FENCE.sub('', document.read_text())
    for target in LINK.findall(text):
        if re.match(r'https?://', target):
            continue
        path, _, anchor = target.partition('#')
        file = document.parent / path if path else document
        if not file.exists():
            yield f'{target} is not there'
        elif anchor and anchor not in slugs(file.read_text()):
            yield f'{target}: no such heading'
    for path in PATH.findall(text):
        name = path.rstrip('/').split(':')[0]
        if not re.search('NAME|<', name) and not list(root.glob(name)):
            yield f'{path} is not there'


def main():
    root = pathlib.Path(sys.argv[1])
    documents = sorted(root.glob('*.md')) + sorted(root.glob('docs/**/*.md'))
    if not documents:
        sys.exit(f'links.py: no documents in {root}')
    print(f'1..{len(documents)}')
    for number, document in enumerate(documents, 1):
        wrong = list(complaints(root, document))
        print(f"{'not ' if wrong else ''}ok {number} - {document.relative_to(root)}")
        for line in wrong:
            print(f'# {line}')


main()
