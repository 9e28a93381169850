//! A page of the documentation: its blocks, its headings and what it links to.

/// What a comment before a block says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It cannot run here.
    Needs(String),
    /// It runs in another test, which is this file.
    RunBy(String),
    /// It is this file of the reader's folder.
    File(String),
}

impl Mark {
    fn read(line: &str) -> Option<Self> {
        let comment = line.strip_prefix("<!--")?.strip_suffix("-->")?;
        let (kind, value) = comment.split_once(':')?;
        let value = value.trim().to_owned();
        match kind.trim() {
            "needs" => Some(Self::Needs(value)),
            "run by" => Some(Self::RunBy(value)),
            "file" => Some(Self::File(value)),
            _ => None,
        }
    }
}

/// A block of code.
#[derive(Debug)]
pub struct Block {
    /// Where it starts.
    pub line: usize,
    /// What stands behind its fence; indented blocks have none.
    pub language: Option<String>,
    pub mark: Option<Mark>,
    pub text: String,
}

/// A command, and what the page shows that it prints.
#[derive(Debug)]
pub struct Step {
    pub command: String,
    pub shown: String,
}

/// What a command starts with.
const PROGRAMS: [&str; 44] = [
    "./",
    "FUZZ_SECONDS",
    "apt-get",
    "base64",
    "buildah",
    "cargo",
    "cat",
    "cd",
    "chmod",
    "cp",
    "curl",
    "docker",
    "echo",
    "export",
    "for",
    "git",
    "helm",
    "install",
    "jq",
    "kill",
    "kubectl",
    "kustomize",
    "ln",
    "mkdir",
    "mv",
    "node",
    "npm",
    "npx",
    "openssl",
    "pip",
    "podman",
    "printf",
    "promtool",
    "python3",
    "qlik",
    "qlik-token-broker",
    "redis-cli",
    "rm",
    "scripts/",
    "sudo",
    "systemctl",
    "tests/",
    "umask",
    "while",
];

/// The languages of blocks that hold commands.
const SHELLS: [&str; 4] = ["bash", "console", "sh", "shell"];

impl Block {
    /// Whether its mark keeps it from running here.
    pub fn runs_elsewhere(&self) -> bool {
        matches!(self.mark, Some(Mark::Needs(_) | Mark::RunBy(_)))
    }

    /// The commands in it. Without a `$` before each, every paragraph is one script, or what the one before
    /// prints.
    pub fn steps(&self) -> Vec<Step> {
        let is_shell = match self.language.as_deref() {
            Some("") | None => false,
            Some(language) if SHELLS.contains(&language) => true,
            Some(_) => return Vec::new(),
        };
        let mut steps: Vec<Step> = Vec::new();
        let mut add = |text: &str, is_command: bool| match steps.last_mut() {
            _ if is_command => steps.push(Step {
                command: text.to_owned(),
                shown: String::new(),
            }),
            Some(step) => step.shown.extend([text, "\n"]),
            None => {}
        };
        if self.text.lines().any(|line| line.starts_with("$ ")) {
            let mut lines = self.text.lines();
            while let Some(line) = lines.next() {
                let Some(command) = line.strip_prefix("$ ") else {
                    add(line, false);
                    continue;
                };
                let mut command = command.to_owned();
                while goes_on(&command) {
                    command.extend(["\n", lines.next().unwrap()]);
                }
                add(&command, true);
            }
        } else {
            for paragraph in self.text.split("\n\n") {
                add(paragraph, is_shell || is_command(paragraph));
            }
        }
        steps
    }
}

fn goes_on(command: &str) -> bool {
    command.ends_with(['\\', '|']) || command.matches('\'').count() % 2 == 1
}

fn is_command(paragraph: &str) -> bool {
    let word = paragraph.trim_start().split([' ', '=']).next().unwrap();
    PROGRAMS
        .iter()
        .any(|program| word == *program || program.ends_with('/') && word.starts_with(program))
}

/// The blocks of a page, from top to bottom. A mark may have empty lines after it, and nothing else; in the
/// first line it is the whole page's.
pub fn blocks(page: &str) -> Vec<Block> {
    let lines: Vec<&str> = page.lines().collect();
    let (mut blocks, mut mark, mut at) = (Vec::new(), None, 0);
    let mut after_empty = true;
    while let Some(line) = lines.get(at).map(|line| line.trim()) {
        let start = at;
        if let Some(language) = line.strip_prefix("```") {
            let body = lines[at + 1..].iter();
            let body = body.take_while(|line| line.trim() != "```").count();
            at += body + 2;
            let language = Some(language.to_owned());
            let text = unindented(&lines[start + 1..=start + body]);
            blocks.push(Block {
                line: start + 1,
                language,
                mark: mark.take(),
                text,
            });
        } else if after_empty && is_code(lines[at]) {
            let body = lines[at..].iter();
            at += body
                .take_while(|line| line.is_empty() || is_code(line))
                .count();
            let text = unindented(&lines[start..at]);
            blocks.push(Block {
                line: start + 1,
                language: None,
                mark: mark.take(),
                text,
            });
        } else {
            at += 1;
            match Mark::read(line) {
                Some(read) => mark = Some(read),
                None if !line.is_empty() => mark = None,
                None => {}
            }
        }
        after_empty = lines[at - 1].is_empty() || mark.is_some();
    }
    let whole = page.lines().next().and_then(Mark::read);
    for block in &mut blocks {
        block.mark = block.mark.take().or_else(|| whole.clone());
    }
    blocks
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_code(line: &str) -> bool {
    indent(line) >= 4 && !line.trim().is_empty()
}

fn unindented(lines: &[&str]) -> String {
    let filled = lines.iter().filter(|line| !line.trim().is_empty());
    let margin = filled.map(|line| indent(line)).min().unwrap_or(0);
    let cut = lines.iter().map(|line| line.get(margin..).unwrap_or(""));
    cut.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// The page without its blocks.
pub fn prose(page: &str) -> String {
    let mut lines: Vec<&str> = page.lines().collect();
    let count = lines.len();
    for block in blocks(page) {
        let fences = 2 * usize::from(block.language.is_some());
        let end = block.line - 1 + block.text.lines().count() + fences;
        lines[block.line - 1..end.min(count)].fill("");
    }
    lines.join("\n")
}

/// The pieces of code within sentences, and what is around them.
pub fn spans(prose: &str) -> (Vec<String>, String) {
    let (mut spans, mut rest) = (Vec::new(), String::new());
    for paragraph in prose.split("\n\n") {
        for (index, part) in paragraph.split('`').enumerate() {
            if index % 2 == 1 {
                spans.push(part.replace('\n', " "));
            } else {
                rest += part;
            }
        }
        rest += "\n\n";
    }
    (spans, rest)
}

/// Where the links of a page lead.
pub fn links(page: &str) -> Vec<String> {
    let (_, text) = spans(&prose(page));
    let after = text.split("](").skip(1);
    let targets = after.filter_map(|rest| rest.split(')').next());
    targets.map(|target| target.trim().to_owned()).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
pub fn anchors(page: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let text = prose(page);
    for heading in text.lines().filter(|line| line.starts_with('#')) {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let slug: String = title.chars().filter(kept).collect();
        let slug = slug.replace(' ', "-");
        let twins = anchors.iter().filter(|anchor| **anchor == slug).count();
        anchors.push(if twins == 0 {
            slug
        } else {
            format!("{slug}-{twins}")
        });
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_marks_and_steps() {
        let page = "a\n\n<!-- needs: docker -->\n\n    $ docker run \\\n      x\n    y\n\nb\n    no block\n\n\
                    1. c\n\n   ```sh\n   curl z\n   ```\n\n       one two\n\n       cargo test\n\n       ok\n";
        let blocks = blocks(page);
        let of = |block: &Block| -> Vec<(String, String)> {
            let steps = block.steps().into_iter();
            steps.map(|step| (step.command, step.shown)).collect()
        };
        assert_eq!(blocks[0].mark, Some(Mark::Needs("docker".into())));
        let docker = ("docker run \\\n  x".to_owned(), "y\n".to_owned());
        assert_eq!((blocks[0].line, of(&blocks[0])), (5, vec![docker]));
        assert_eq!(blocks[1].mark, None);
        assert_eq!(of(&blocks[1]), [("curl z".to_owned(), String::new())]);
        assert_eq!(
            of(&blocks[2]),
            [("cargo test".to_owned(), "ok\n".to_owned())]
        );
        assert_eq!(blocks.len(), 3);

        let whole = super::blocks(
            "<!-- run by: a -->\n# T\n\n    curl z\n\n<!-- file: b -->\n```toml\nc\n```\n",
        );
        let marks: Vec<_> = whole.into_iter().map(|block| block.mark.unwrap()).collect();
        assert_eq!(marks, [Mark::RunBy("a".into()), Mark::File("b".into())]);
    }

    #[test]
    fn anchors_are_those_of_github() {
        let page = "# A `[b.c]` d\n## A `[b.c]` d\n\n    # no\n\n### `GET /x.js`, `y`: (z)\n";
        assert_eq!(anchors(page), ["a-bc-d", "a-bc-d-1", "get-xjs-y-z"]);
    }
}
