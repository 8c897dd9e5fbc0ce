/**
 * The main job, shown: three tasks at once in the background, a list while they run, their ends and
 * their outputs. With a droid that is installed and logged in they are droids, else commands.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { findOnPath } from "../../lib/process/executables.ts";

const bg = join(import.meta.dir, "..", "..", "dist", "bg");
const dir = mkdtempSync(join(tmpdir(), "bg-demo-"));
const factory = join(homedir(), ".factory");

const loggedIn =
	process.env.FACTORY_API_KEY !== undefined ||
	(existsSync(factory) &&
		readdirSync(factory).some((name) => /^auth\./.test(name)));
const withDroid = findOnPath("droid") !== undefined && loggedIn;

/** Calls bg as one would at a prompt, shows it, and returns what it answered. */
function call(...args: string[]): string {
	const words = args.map((word) =>
		/^[\w.@:/-]+$/.test(word) ? word : `'${word}'`,
	);
	console.log(`\n$ bg ${words.join(" ")}`);
	const { stdout, stderr } = Bun.spawnSync([bg, ...args], {
		env: { ...process.env, BG_DIR: dir },
	});
	const answer = stdout.toString().trimEnd();
	console.log(
		[stderr.toString().trimEnd(), answer].filter((text) => text).join("\n"),
	);
	return answer;
}

const droids = [
	["count the files", "How many files are in this folder? Answer in one line."],
	["name the language", "Which language is this project in? One word."],
	["read the licence", "Which licence is in LICENSE? One line."],
];
const commands = [
	["count slowly", "for n in 1 2 3; do echo step $n; sleep 0.5; done"],
	["find something", "sleep 0.4; echo found it"],
	["fail on purpose", "sleep 0.8; echo no such luck; exit 3"],
];

try {
	const ids = withDroid
		? droids.map((words) => call("launch", "-q", ...words))
		: commands.map(([about = "", script = ""]) =>
				call("run", "-q", about, "--", "sh", "-c", script),
			);
	call("list", "--text");
	call("wait", "--text", ...ids);
	for (const id of ids) call("output", "--text", id);
	call("list", "--text");
} finally {
	Bun.spawnSync([bg, "cancel", "--all"], {
		env: { ...process.env, BG_DIR: dir },
	});
	rmSync(dir, { recursive: true, force: true });
}
