/**
 * `npm run demo`: launches a droid and two commands, shows them while they run, their ends, their
 * outputs, and the file that the droid changed. If no droid is installed and logged in, a stand-in
 * takes its place; it calls no model. Everything lies in a temporary folder and ends with the demo.
 */
import {
	chmodSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const bg = join(import.meta.dir, "..", "..", "dist", "bg");
const folder = mkdtempSync(join(tmpdir(), "bg-demo-"));
const file = join(folder, "sum.js");
const before = `const sum = (a, b) => a - b;

console.log("2 + 3 =", sum(2, 3));
process.exit(sum(2, 3) === 5 ? 0 : 1);
`;
writeFileSync(file, before);
const definitions = join(folder, ".factory", "droids");
mkdirSync(definitions, { recursive: true });
writeFileSync(
	join(definitions, "fixer.md"),
	"---\nmodel: inherit\n---\nYou fix one fault with the smallest change.\n",
);

/** The caller's environment without what belongs to a task or session of bg. */
const env: NodeJS.ProcessEnv = { ...process.env };
for (const name of Object.keys(env))
	if (name.startsWith("BG_") && name !== "BG_DROID") delete env[name];
env.BG_DIR = join(folder, "tasks");

const ask = (...args: string[]) => {
	const { stdout, stderr } = Bun.spawnSync([bg, ...args], { cwd: folder, env });
	return {
		stdout: stdout.toString().trimEnd(),
		stderr: stderr.toString().trimEnd(),
	};
};

/** Calls bg as a person would at a prompt, shows the call and the answer, and returns the answer. */
function call(...args: string[]): string {
	const words = args.map((word) =>
		/^[\w.@:/-]+$/.test(word) ? word : `'${word}'`,
	);
	console.log(`\n$ bg ${words.join(" ")}`);
	const { stdout, stderr } = ask(...args);
	if (stderr) console.log(stderr);
	if (stdout) console.log(stdout);
	return stdout;
}

type Checks = { checks: { check: string; ok: boolean }[] };

/** Whether there is a droid to run, with a login. */
function hasDroid(): boolean {
	const { checks } = JSON.parse(ask("doctor", "--json").stdout) as Checks;
	return ["droid", "login"].every((name) =>
		checks.some(({ check, ok }) => check === name && ok),
	);
}

/** Makes bg run the stand-in, which changes the file with `sed`, and keeps it out of ~/.factory. */
function useStandIn(): void {
	const path = join(folder, "droid");
	const edit =
		"sleep 2; sed 's/a - b/a + b/' sum.js >new.js && mv new.js sum.js && echo sum.js: a - b became a + b";
	const standIn = join(import.meta.dir, "stand-in.ts");
	writeFileSync(
		path,
		`#!/bin/sh
exec '${process.execPath}' '${standIn}' exec --auto low -o stream-json "RUN[${edit}]"
`,
	);
	chmodSync(path, 0o755);
	env.BG_DROID = path;
	env.HOME = folder;
}

/** The lines of a file that changed, in the form of a diff. */
function showChanges(old: string, now: string): void {
	const [removed, added] = [old.split("\n"), now.split("\n")];
	console.log(`\n${file}:`);
	for (const line of removed)
		if (!added.includes(line)) console.log(`- ${line}`);
	for (const line of added)
		if (!removed.includes(line)) console.log(`+ ${line}`);
	if (old === now) console.log("  (unchanged)");
}

const ids: string[] = [];

function end(): void {
	const unended = ids.splice(0);
	if (unended.length) ask("cancel", ...unended);
	rmSync(folder, { recursive: true, force: true });
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
	process.on(signal, () => {
		end();
		process.exit(1);
	});

try {
	const isReal = hasDroid();
	if (!isReal) useStandIn();
	console.log(
		isReal
			? "droid: the one on PATH; it calls its model once."
			: "droid: STAND-IN, because no droid with a login was found. It calls no model: it changes sum.js with sed.",
	);
	const check = ["--", "node", "sum.js"];
	const first = call("run", "-q", "test before", ...check);
	ids.push(first);
	const prompt =
		"sum.js subtracts. Make it add, and say in one line what you changed.";
	const options = ["-q", "--after-any", first, "--timeout", "60s"];
	const fix = call("launch", ...options, "fix the sum", prompt, "fixer");
	ids.push(fix);
	ids.push(call("run", "-q", "--after", fix, "test after", ...check));
	// The first test ends and the droid starts.
	await Bun.sleep(700);
	call("list", "--text");
	call("wait", "--text", ...ids);
	call("output", "--text", fix);
	showChanges(before, readFileSync(file, "utf8"));
} finally {
	end();
}
