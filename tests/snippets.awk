# SPDX-License-Identifier: MIT
# Makes a C file of a document's snippets: of each block of code that begins with such a line a function, behind
# what tests/snippets_<document>.h declares. usage: awk -v fence=REGEX -v prelude=HEADER -f snippets.awk FILE
BEGIN { print "#include \"" prelude "\"" }
$0 ~ fence {
    on = 1
    printf "void snippet_%d(void);\nvoid snippet_%d(void)\n{\n#line %d \"%s\"\n", ++n, n, FNR + 1, FILENAME
    next
}
/^ *```$/ && on { on = 0; print "}" }
on
END { if (n == 0) print "#error no snippets" }
