//! The code blocks of a page, and what comments say about them.

/// One fenced block of a page.
pub struct Block {
    /// The number of the line of its opening fence, from 1 on.
    pub line: usize,
    /// The word behind the opening fence.
    pub language: String,
    /// How far it is indented.
    pub indentation: usize,
    /// Its lines, without the indentation of the fence.
    pub lines: Vec<String>,
    /// The comments right above it: `<!-- any: 9992 -->` is `any: 9992`.
    remarks: Vec<String>,
}

/// All blocks of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut remarks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let indentation = line.len() - line.trim_start().len();
        let line = line.trim();
        if let Some(language) = line.strip_prefix("```") {
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
            blocks.push(Block {
                line: number + 1,
                language: language.to_owned(),
                indentation,
                lines: inside.map(|line| line.get(indentation..).unwrap_or_default().to_owned()).collect(),
                remarks: std::mem::take(&mut remarks),
            });
        } else if let Some(remark) = line.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) {
            remarks.push(remark.trim().to_owned());
        } else if !line.is_empty() {
            remarks.clear();
        }
    }
    blocks
}

impl Block {
    /// Whether it goes on with the server of the block before.
    pub fn continues(&self) -> bool {
        self.remarks.iter().any(|remark| remark == "continues")
    }

    /// The words that differ from run to run.
    pub fn any(&self) -> Vec<&str> {
        let lists = self.remarks.iter().filter_map(|remark| remark.strip_prefix("any:"));
        lists.flat_map(str::split_whitespace).collect()
    }

    /// The commands of a session with redis-cli, each with the lines that it is answered; None for a block that is none.
    pub fn session(&self) -> Option<Vec<Exchange>> {
        self.exchanges(prompted)
    }

    /// The same for a session with a shell, whose prompt is `$`.
    pub fn shell_session(&self) -> Option<Vec<Exchange>> {
        self.exchanges(|line| line.strip_prefix("$ "))
    }

    fn exchanges(&self, prompted: fn(&str) -> Option<&str>) -> Option<Vec<Exchange>> {
        let mut exchanges: Vec<Exchange> = Vec::new();
        for line in &self.lines {
            match (prompted(line), exchanges.last_mut()) {
                (Some(command), _) => {
                    exchanges.push(Exchange {
                        line: line.clone(),
                        command: command.to_owned(),
                        answer: Vec::new(),
                    });
                }
                (None, Some(exchange)) => exchange.answer.push(line.clone()),
                (None, None) => return None,
            }
        }
        Some(exchanges)
    }
}

/// A command of a session.
pub struct Exchange {
    /// The line with its prompt.
    pub line: String,
    /// The command.
    pub command: String,
    /// The lines of the answer.
    pub answer: Vec<String>,
}

/// What stands behind redis-cli's prompt, which also tells a database (`[1]`) and a transaction (`(TX)`).
fn prompted(line: &str) -> Option<&str> {
    let (state, command) = line.strip_prefix("127.0.0.1:6379")?.split_once("> ")?;
    ["", "(TX)", "[1]"].contains(&state).then_some(command)
}
