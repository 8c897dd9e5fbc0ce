/** The verbs that keys of `bg watch` run, as processes of their own: `bg watch` goes on meanwhile. */
import { findPager } from "../../print/pager.ts";
import { toLine } from "../../print/text.ts";
import { buildSelfCommand } from "../../process/executables.ts";
import { isUnattended } from "../reply.ts";

/** The first line of what a verb answered. */
export type Answer = { text: string; isFault: boolean };

/** How much of an answer is kept, in characters. */
const maxAnswerLength = 4096;

/** A verb that ended sooner showed its text without a pager, in ms. */
const minReadMs = 2500;

/** Runs verbs; those with the same key one after the other. */
export class VerbRunner {
	readonly #running = new Map<string, Promise<unknown>>();

	run(key: string, call: readonly string[]): Promise<Answer> {
		const before = this.#running.get(key) ?? Promise.resolve();
		const answer = before.then(() => runAlone(call));
		this.#running.set(
			key,
			answer.catch(() => {}),
		);
		return answer;
	}
}

/** Runs a verb in the terminal. @returns whether what it wrote is still to be read. */
export async function showVerb(call: readonly string[]): Promise<boolean> {
	const startedAt = performance.now();
	const child = startVerb(call, "inherit");
	const code = await new Promise<number | null>((resolve) => {
		child.once("error", () => resolve(null));
		child.once("close", resolve);
	});
	// git has a pager of its own.
	const mayPage = call[0] !== "output" || (findPager() && !isUnattended());
	const isPaged = mayPage && performance.now() - startedAt >= minReadMs;
	return code !== 0 || !isPaged;
}

// --- internal ---

function startVerb(call: readonly string[], stdio: "inherit" | "pipe") {
	const { spawn } = process.getBuiltinModule("node:child_process");
	const [file, ...args] = buildSelfCommand();
	return spawn(file, [...args, ...call], {
		stdio: [stdio === "pipe" ? "ignore" : stdio, stdio, stdio],
	});
}

async function runAlone([
	verb = "",
	...rest
]: readonly string[]): Promise<Answer> {
	// Before `--`: what follows it is text.
	const child = startVerb([verb, "--text", ...rest], "pipe");
	let answer = "";
	for (const stream of [child.stdout, child.stderr])
		stream?.on("data", (bytes) => {
			if (answer.length < maxAnswerLength) answer += bytes;
		});
	const code = await new Promise<number | null>((resolve) => {
		child.once("error", (error) => {
			answer ||= `not started: ${error.message}`;
			resolve(null);
		});
		child.once("close", resolve);
	});
	const line = answer.split("\n").find((each) => each.trim()) ?? "";
	const said = toLine(line.replace(/^bg: /, ""), 500);
	const isFault = code !== 0;
	const usual = isFault ? `exit ${code ?? "by a signal"}` : "done";
	return { text: said || `${verb}: ${usual}`, isFault };
}
