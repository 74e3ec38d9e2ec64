# SPDX-License-Identifier: MIT
# Marks a header's comments for Doxygen: the first one is the file's, one that begins a line belongs to
# what follows, one behind a member or a value to that.
# What it would take for a command is kept as it stands.
function plain(text)
{
    gsub(/</, "\\&lt;", text)
    gsub(/#/, "\\#", text)
    gsub(/@/, "\\@", text)
    return text
}
/^\/\* SPDX/ { print ""; next }
{
    line = $0
    at = index(line, "/*")
    if (inside) {
        line = plain(line)
    } else if (at == 1 && !begun) {
        begun = 1
        line = "/** @file\n *" plain(substr(line, 3))
    } else if (at > 0) {
        before = substr(line, 1, at - 1)
        mark = before ~ /[^ ]/ ? "/**< " : "/** "
        if (before !~ /^#/)
            line = before mark plain(substr(line, at + 3))
    }
    inside = at > 0 && !inside ? index(substr($0, at), "*/") == 0 : inside && index($0, "*/") == 0
    print line
}
