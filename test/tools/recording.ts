/**
 * The picture in the README: `npm run recording` runs a session of bg in a terminal, with the
 * stand-in for droid, and draws what came out as `.github/bg.svg`. Nothing in it is typed by hand.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import stringWidth from "string-width";

const columns = 96;
const root = join(import.meta.dir, "..", "..");
const base = mkdtempSync(join(tmpdir(), "bg-recording-"));

/** What the stand-in does at a prompt, so that the session need not say it in its own language. */
const droid = `#!/bin/sh
case "$*" in
*tests*) set -- 'RUN[sleep 6; echo All 42 tests pass, the clock was wrong.]' ;;
*) set -- 'SAY[Tokens are compared in constant time. 両方とも良い ✨]' ;;
esac
exec ${join(import.meta.dir, "stand-in.ts")} exec --auto low -o stream-json "$1"
`;
writeFileSync(join(base, "droid"), droid, { mode: 0o755 });
const definition = "---\nmodel: inherit\n---\nYou carry a task out.\n";
for (const name of ["executor-high", "reviewer"])
	await Bun.write(join(base, ".factory", "droids", `${name}.md`), definition);
const env = {
	PATH: `${join(root, "node_modules", ".bin")}:${process.env.PATH}`,
	HOME: base,
	BG_DIR: join(base, "tasks"),
	BG_DROID: join(base, "droid"),
	TERM: "xterm-256color",
};

const session = [
	"bg launch 'fix the tests' 'Run the tests and fix what fails.' executor-high",
	"bg launch 'review auth.ts' 'Look for holes in auth.ts.' reviewer",
	"bg run 'build' -- sh -c 'sleep 4; echo main.c:7: no such luck; exit 2'",
	"bg list",
	"bg wait",
	"bg list",
];

/** Runs one command in a terminal, and returns what that showed. */
async function show(command: string): Promise<string> {
	const end = "§";
	let text = "";
	const decoder = new TextDecoder();
	const terminal = new Bun.Terminal({
		cols: columns,
		data: (_, bytes) => {
			text += decoder.decode(bytes, { stream: true });
		},
	});
	// A shell has a word `bg` of its own; people have an alias where this is a function.
	const script = `bg() { "$0" "$@"; }; sleep 1; ${command}; printf ${end}`;
	const argv = ["sh", "-c", script, join(root, "dist", "bg")];
	await Bun.spawn(argv, { cwd: base, env, terminal }).exited;
	while (!text.endsWith(end)) await Bun.sleep(5);
	terminal.close();
	return text.slice(0, -end.length);
}

// --- the picture ---

/** The colours that bg uses, by their number, on a ground of their own: readable on any page. */
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

/** One line: each stretch of one style stands, whatever the font, in the columns it takes. */
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

/** What a terminal shows of its output: a line that was erased is gone. */
const linesOf = (text: string) =>
	text.split(/\r*\n/).map((line) => line.split("\r\u001b[K").at(-1) ?? "");

try {
	const lines: string[] = [];
	for (const command of session) {
		lines.push(`\u001b[90m$ \u001b[39m${command}`);
		lines.push(...linesOf((await show(command)).trimEnd()), "");
	}
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
