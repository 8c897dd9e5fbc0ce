import { prepareDiff } from "../../droid/worktree/changes.ts";
import { refused } from "../../error.ts";
import { isColourWanted } from "../../print/status.ts";
import { isTerminal, toPlain, writeAll } from "../../print/text.ts";
import { raiseSignal } from "../../process/signals.ts";
import { openStore } from "../../store/directory.ts";
import { readTask, resolveTaskId } from "../../store/records.ts";
import { isUnattended, warn } from "../reply.ts";
import { defineVerb, flag, required } from "../verb.ts";

export default defineVerb({
	name: "diff",
	description: "Show a droid's git changes, if it had a worktree",
	group: "inspect",
	repliesInText: true,
	examples: {
		"bg diff @last": "all changes since the task began, committed or not",
		"bg diff @last --stat": "the changed files, and how many lines",
	},
	args: {
		id: required("id of a task with --worktree", { from: "tasks" }),
		stat: flag("only the names of the files and the number of lines"),
	},
	run: async ({ args }) => {
		const store = openStore();
		const id = resolveTaskId(store, args.id);
		const flags = [
			...(isColourWanted() ? [] : ["--no-color"]),
			...(args.stat ? ["--stat"] : []),
		];
		const call = await prepareDiff(store, readTask(store, id), flags);
		for (const note of call.notes) warn(note);
		await runToEnd(call);
	},
});

// --- internal ---

type Call = Awaited<ReturnType<typeof prepareDiff>>;

/** Runs git on this program's output; an agent or CI gets the text without a pager. */
async function runToEnd({ command, env, close }: Call): Promise<void> {
	const { spawn } = process.getBuiltinModule("node:child_process");
	const [git, ...args] = command;
	const isPlain = isTerminal(1) && isUnattended();
	const child = spawn(git, isPlain ? ["--no-pager", ...args] : args, {
		env: mergeEnvironment(env),
		stdio: ["ignore", isPlain ? "pipe" : "inherit", "pipe"],
	});
	// Ctrl-C is for git and its pager.
	const ignore = () => {};
	const leave = (name: NodeJS.Signals) => {
		close();
		process.removeAllListeners(name);
		raiseSignal(name);
	};
	process.on("SIGINT", ignore).on("SIGHUP", leave).on("SIGTERM", leave);
	try {
		let said = "";
		child.stderr?.setEncoding("utf8").on("data", (text: string) => {
			said = (said + text).slice(-maxErrorLength);
		});
		child.stdout?.setEncoding("utf8").on("data", (text: string) => {
			writeAll(1, toPlain(text));
		});
		const code = await new Promise<number | null>((resolve, reject) => {
			child.once("error", reject);
			child.once("close", resolve);
		});
		const lines = said.split("\n").filter(Boolean);
		// Without a code, its reader is gone.
		if (code) throw refused(lines.at(-1) ?? `git exited ${code}`);
		for (const line of lines) warn(line);
	} finally {
		process.off("SIGINT", ignore).off("SIGHUP", leave).off("SIGTERM", leave);
		close();
	}
}

/** The most of git's messages that is kept, in characters. */
const maxErrorLength = 8192;

function mergeEnvironment(given: Call["env"]): NodeJS.ProcessEnv {
	const all = { ...process.env, ...given };
	return Object.fromEntries(
		Object.entries(all).filter(([, value]) => value !== undefined),
	);
}
