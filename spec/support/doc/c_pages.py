"""Writes a Markdown page for each C header, from Doxygen's XML: c_pages.py XML-FOLDER PAGES-FOLDER HEADER...

Doxygen itself fails for names without a text; this script does for constants, and for settings without a default."""
import pathlib
import re
import sys
import xml.etree.ElementTree as xml

UNITS = {"_ms": "milliseconds", "_us": "microseconds", "_s": "seconds", "_per_minute": "requests per minute",
         "max_body": "bytes"}
wrong = []


def inline(node):
    """Markdown of a node's text; names of the library become code, which the site links."""
    def words(text):
        return re.sub(r"\b(leat_\w+|LEAT_\w+)\b(?!\.h)", r"`\1`", text or "").replace("<", "&lt;").replace("*", "\\*")
    marks = {"computeroutput": "`", "emphasis": "*", "bold": "**"}
    parts = [words(node.text)]
    for child in node:
        mark = marks.get(child.tag)
        parts.append(mark + "".join(child.itertext()) + mark if mark else block(child))
        parts.append(words(child.tail))
    return "".join(parts)


def block(node):
    if node.tag == "verbatim":
        return f"\n\n```c\n{node.text.rstrip()}\n```\n\n"
    if node.tag == "itemizedlist":
        return "\n\n" + "\n".join("* " + inline(item[0]).strip() for item in node) + "\n\n"
    return inline(node)


def text_of(node):
    """The description of a member, in paragraphs."""
    return "\n\n".join(block(para).strip() for para in node.find("detaileddescription"))


def settings(name, field, text):
    """Moves the default, with which the text of a setting begins, to what is said beside the name."""
    said = "".join(field.find("type").itertext()).replace("*", "\\*") + (field.findtext("argsstring") or "")
    said += "".join(f" ({unit})" for end, unit in UNITS.items() if field.findtext("name").endswith(end))
    if not name.endswith(("_config", "_fault")):
        return said, text
    default, _, rest = text.partition(": ")
    if not rest or len(default) > 45:
        wrong.append(f"{name}.{field.findtext('name')} has no default")
    return f"{said}, default: {default}", rest


def definition(name, said, text):
    if not text:
        wrong.append(f"{name} has no text")
    return f"`{name}`{f' *{said}*' if said else ''}\n:   {text}\n"


def declaration(member):
    text = member.find("definition").text + (member.find("argsstring").text or "") + ";"
    text = re.sub(r"\* +", "*", text)
    return text if len(text) <= 80 else text.replace("(", "(\n    ", 1).replace(", ", ",\n    ")


def entry(member):
    """Returns the entry of a function, type or constant."""
    kind, text, tail = member.get("kind"), text_of(member), []
    name = (member.find("compoundname") if kind == "struct" else member.find("name")).text
    code = declaration(member) if kind in ("function", "typedef") else ""
    if kind == "struct":
        for field in member.iter("memberdef"):
            said, what = settings(name, field, text_of(field))
            tail.append(definition(field.find("name").text, said, what))
    elif kind == "enum":
        values = member.findall("enumvalue")
        name = values[0].find("name").text if name.startswith("@") else name
        tail = [definition(value.find("name").text, "", text_of(value)) for value in values]
    elif kind == "define":
        code = f"#define {name} {member.find('initializer').text}"
    if not text:
        wrong.append(name + " has no text")
    head = [f"### `{name}` {{ #{name} }}\n"] + ([f"```c\n{code}\n```\n"] if code else [])
    return "\n".join(head + [text + "\n"] + tail)


def is_macro(member):
    """Whether it is a macro that is not for users, such as a guard against including twice."""
    return member.get("kind") == "define" and not (member.findtext("initializer") or "").startswith('"')


def page(folder, header):
    root = xml.parse(folder / (header.name.replace("_", "__").replace(".", "_8") + ".xml")).getroot()[0]
    structs = [xml.parse(folder / (inner.get("refid") + ".xml")).getroot()[0] for inner in root.findall("innerclass")]
    members = [member for member in list(root.iter("memberdef")) + structs if not is_macro(member)]
    pieces = [(int(member.find("location").get("line")), entry(member)) for member in members]
    for line, text in enumerate(header.read_text().splitlines(), 1):
        section = re.match(r"/\* ---- (.*?) -+ \*/", text)
        pieces += [(line, f"## {section[1][0].upper()}{section[1][1:]}\n")] if section else []
    return "\n".join([f"# {header.name}\n", text_of(root), ""] + [text for _, text in sorted(pieces)])


for path in map(pathlib.Path, sys.argv[3:]):
    pathlib.Path(sys.argv[2], path.stem + ".md").write_text(page(pathlib.Path(sys.argv[1]), path))
sys.exit("doc: " + "\ndoc: ".join(wrong) if wrong else 0)
