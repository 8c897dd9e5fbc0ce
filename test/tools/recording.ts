/**
 * Recorded sessions: `npm run recording` runs bg in a terminal, with the stand-in as droid, writes the
 * first one as text into README.md (its `console` block) and draws the second one as `.github/bg.svg`.
 * Nothing in them is typed by hand; only the temporary home folder is shown as `/home/you`.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import stringWidth from "string-width";
import { readScreen } from "./screen.ts";

const root = join(import.meta.dir, "..", "..");
const base = mkdtempSync(join(tmpdir(), "bg-recording-"));

/** What the stand-in does at a prompt. Its own language is replaced by the prompt, so that no session contains it. */
const droid = `#!/bin/sh
case "$*" in
*tests*) prompt='Run the tests and fix what fails.' act='RUN[./run-tests]' ;;
*) prompt='Check auth.ts for security faults.' act='SAY[Tokens are compared in constant time. 両方とも良い ✨]' ;;
esac
${join(import.meta.dir, "stand-in.ts")} exec --auto low -o stream-json "$act" |
	sed -u 's/"text":"[A-Z]*\\[[^"]*\\]"/"text":"'"$prompt"'"/'
`;
const runTests =
	"#!/bin/sh\nsleep 6\necho All 42 tests pass. The clock was wrong.\n";
writeFileSync(join(base, "run-tests"), runTests, { mode: 0o755 });
writeFileSync(join(base, "droid"), droid, { mode: 0o755 });
const definition = "---\nmodel: inherit\n---\nYou carry out a task.\n";
for (const name of ["executor-med", "executor-high", "reviewer"])
	await Bun.write(join(base, ".factory", "droids", `${name}.md`), definition);
const env = {
	PATH: `${join(root, "node_modules", ".bin")}:${process.env.PATH}`,
	HOME: base,
	BG_DIR: join(base, "tasks"),
	BG_DROID: join(base, "droid"),
	TERM: "xterm-256color",
};

const readmeSession = [
	"bg launch 'fix the tests' 'Run the tests and fix what fails.'",
	"bg run 'build' --after @last -- sh -c 'exit 2'",
	"bg watch",
	"bg wait",
];

const pictureSession = [
	"bg launch 'fix the tests' 'Run the tests and fix what fails.' executor-high",
	"bg launch 'review auth.ts' 'Check auth.ts for security faults.' reviewer",
	"bg run 'build' -- sh -c 'sleep 8; echo main.c:7: no such file; exit 2'",
	"bg watch",
	"bg wait",
];

/** The columns of the terminal: from this width `bg watch` has its pane beside the list. */
const columns = 120;

/** Runs one command in a terminal and returns the lines that it leaves there. */
async function show(command: string, rows: number): Promise<string[]> {
	const end = "§";
	let text = "";
	let keys = command === "bg watch" ? "q" : "";
	const decoder = new TextDecoder();
	const terminal = new Bun.Terminal({
		cols: columns,
		rows,
		data: (_, bytes) => {
			text += decoder.decode(bytes, { stream: true });
			// The pane shows the droid's call of its tool.
			if (!keys || !/→ Execute/.test(readScreen(text, rows).join())) return;
			terminal.write(keys);
			keys = "";
		},
	});
	// `bg` is a builtin of every shell, so a function calls the program.
	const script = `bg() { "$0" "$@"; }; sleep 1; ${command}; printf ${end}`;
	const argv = ["sh", "-c", script, join(root, "dist", "bg")];
	await Bun.spawn(argv, { cwd: base, env, terminal }).exited;
	while (!text.endsWith(end)) await Bun.sleep(5);
	terminal.close();
	const screen = readScreen(text, rows).join("\n");
	const shown = screen || text.slice(0, -end.length);
	return shown
		.trimEnd()
		.split(/\r*\n/)
		.map((line) => line.split("\r\u001b[K").at(-1) ?? "");
}

/** Runs a session. Each command is followed by what it showed and an empty line. */
async function record(
	session: readonly string[],
	rows: number,
): Promise<string[]> {
	const lines: string[] = [];
	for (const command of session) {
		lines.push(`\u001b[90m$ \u001b[39m${command}`);
		lines.push(...(await show(command, rows)), "");
	}
	rmSync(env.BG_DIR, { recursive: true });
	return lines.map((line) => line.replaceAll(base, "/home/you"));
}

// --- the picture ---

/** The colours that bg uses, by SGR number, on a dark background. */
const colours: Record<string, string> = {
	31: "#ff7b72",
	32: "#7ee787",
	35: "#d2a8ff",
	36: "#76e3ea",
	39: "#e6edf3",
	90: "#8b949e",
};
const cell = { width: 8.5, height: 19 };

const escapeXml = (text: string) =>
	text.replace(/[&<>]/g, (char) => `&#${char.charCodeAt(0)};`);

/** Draws one line. Each stretch of one style takes its columns, whatever the font. */
function drawLine(line: string, row: number): string {
	let [column, fill, weight] = [0, colours[39], "normal"];
	const stretches = line.split("\u001b[").map((part, at) => {
		const [, code = ""] = (at > 0 && /^(\d*)m/.exec(part)) || [];
		if (code === "1") weight = "bold";
		else if (code === "22") weight = "normal";
		else if (code) fill = colours[code];
		const text = code ? part.slice(code.length + 1) : part;
		const x = column * cell.width;
		const width = stringWidth(text) * cell.width;
		column += stringWidth(text);
		return text.trim()
			? `<text x="${x}" y="${(row + 1) * cell.height}" textLength="${width}" fill="${fill}" font-weight="${weight}">${escapeXml(text)}</text>`
			: "";
	});
	return stretches.join("");
}

try {
	const readme = join(root, "README.md");
	const shown = Bun.stripANSI((await record(readmeSession, 9)).join("\n"));
	const text = shown.replace(/ +$/gm, "").replace(/\n+/g, "\n").trimEnd();
	const block = `\`\`\`console\n${text}\n\`\`\`\n`;
	writeFileSync(
		readme,
		readFileSync(readme, "utf8").replace(
			/^```console\n[\s\S]*?^```\n/m,
			() => block,
		),
	);
	const lines = await record(pictureSession, 11);
	const width = Math.ceil(columns * cell.width);
	const height = lines.length * cell.height;
	const svg = [
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="-16 -8 ${width + 32} ${height + 16}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">`,
		`<rect x="-16" y="-8" width="${width + 32}" height="${height + 16}" rx="10" fill="#0d1117"/>`,
		...lines.map(drawLine).filter((line) => line),
		"</svg>\n",
	].join("\n");
	await Bun.write(join(root, ".github", "bg.svg"), svg);
} finally {
	Bun.spawnSync([join(root, "dist", "bg"), "cancel", "--all"], { env });
	rmSync(base, { recursive: true, force: true });
}
