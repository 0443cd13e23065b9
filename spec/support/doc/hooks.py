"""What mkdocs does not do by itself: the version, links from names to the reference, and search from file://."""
import json
import pathlib
import re

import lunr
from mkdocs.exceptions import PluginError

# The site must find them; readers search for them.
SEARCHES = ["retry", "idempotent", "timeout", "rate limit", "duplicate", "journal"]
names = {}  # maps "tasks.each" to the page of the reference that explains it, with the anchor


def on_config(config):
    header = pathlib.Path("core/leat.h").read_text()
    config["site_name"] = "leat " + re.search('#define LEAT_VERSION +"(.*)"', header)[1]
    config["copyright"] = config["site_name"] + ", MIT license"
    return config


def on_files(files, config):
    for file in files.documentation_pages():
        if file.src_path.startswith("reference/"):
            text = pathlib.Path(file.abs_src_path).read_text()
            for name in re.findall(r"^#+ .* \{ #(\S+) \}$", text, re.M):
                names.setdefault(name, file.src_path + "#" + name)
            names.setdefault(re.match("# (.*)", text)[1], file.src_path)


def on_page_markdown(markdown, page, config, files):
    """Makes a link of each name of the reference that stands alone as code, outside of headings and blocks of code."""
    up = "../" * page.file.src_path.count("/")

    def link(match):
        name = re.sub(r"\(\)$", "", match[1]).replace(":", ".")
        target = re.search(r"\.|^leat_|^LEAT_", name) and names.get(name)
        return f"[{match[0]}]({up}{target})" if target and target != page.file.src_path else match[0]

    parts = re.split(r"(^ *```.*?^ *```$|^#[^\n]*$|\[[^\]\n]*\]\()", markdown, flags=re.M | re.S)
    parts[::2] = [re.sub(r"(?<!`)`([\w.:]+(?:\(\))?)`(?!`)", link, part) for part in parts[::2]]
    return "".join(parts)


def on_post_build(config):
    """A page from file:// may neither fetch the index nor start a worker from a file, so a script has both.
    (From version 9 on, the theme has a plugin for that; Debian 12 has 8.2.)"""
    site = pathlib.Path(config["site_dir"])
    index = (site / "search/search_index.json").read_text()
    found = lunr.lunr(ref="location", fields=("title", "text"), documents=json.loads(index)["docs"])
    for words in SEARCHES:
        if not found.search(" ".join("+" + word for word in words.split())):
            raise PluginError(f"the search finds nothing for '{words}'")
    worker = next(site.glob("assets/javascripts/workers/search.*.js")).read_text()
    (site / "search/offline.js").write_text(
        f"var __search = {{ index: Promise.resolve({index}),\n"
        f"worker: URL.createObjectURL(new Blob([{json.dumps(worker)}])) }};\n")
