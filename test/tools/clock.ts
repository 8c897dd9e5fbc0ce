/**
 * A wall clock that tests move under running processes, by libfaketime. The monotonic clock and the times
 * of files stay true. If `faketime` is missing, the test fails with a message that says so.
 */
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterTest } from "./concurrent.ts";
import { type CallOptions, root, type Sandbox, sandbox } from "./harness.ts";
import type { Env } from "./queue.ts";

export const hour = 3_600_000;
export const day = 24 * hour;

type Clock = {
	/** What a call of bg needs in its environment; all that it starts inherits it. */
	env: Env;
	/** Moves the clock to `offset` ms from the true time, for all processes at once. */
	move: (offset: number) => void;
	/** A line for a shell that does the same from inside a task. */
	moveLine: (offset: number) => string;
};

/**
 * A sandbox whose calls of bg have a clock that shows the true time until it is moved.
 * @param options `argv`: the form of the program, by default the one that starts fastest.
 */
export async function sandboxWithClock({
	argv = [join(root, "dist", "bg")],
	env = {} as Env,
} = {}) {
	const box = sandbox();
	const clock = await movableClock(box);
	const options = { argv, env: { ...clock.env, ...env } };
	const bg = (args: string[], more: CallOptions = {}) =>
		box.bg(args, { ...options, ...more, env: { ...options.env, ...more.env } });
	/** Launches a shell script and returns its id. */
	const script = async (text: string, ...flags: string[]): Promise<string> => {
		const words = ["run", "-q", ...flags, "d", "--", "sh", "-c", text];
		const { stdout, stderr } = await bg(words);
		if (stderr) throw new Error(stderr);
		return stdout.trim();
	};
	return { box, clock, bg, script };
}

/** How far a time in a record is from the true time, to the nearest hour, in ms. */
export const offsetOf = (at: string | undefined): number =>
	Math.round((Date.parse(at ?? "") - Date.now()) / hour) * hour + 0;

// --- internal ---

async function movableClock(box: Sandbox): Promise<Clock> {
	const file = join(box.home, "clock");
	let count = 0;
	const prepare = (offset: number) => {
		const prepared = `${file}.${++count}`;
		const sign = offset < 0 ? "-" : "+";
		writeFileSync(prepared, `${sign}${Math.abs(offset) / 1000}`);
		return prepared;
	};
	// A rename: a process that reads the file finds the whole text.
	const move = (offset: number) => renameSync(prepare(offset), file);
	move(0);
	const env = {
		...(await holdFaketime()),
		FAKETIME_TIMESTAMP_FILE: file,
		FAKETIME_NO_CACHE: "1",
		FAKETIME_DONT_FAKE_MONOTONIC: "1",
	};
	const moveLine = (offset: number) => `mv '${prepare(offset)}' '${file}'`;
	return { env, move, moveLine };
}

/**
 * What makes a process use libfaketime: the library, and a semaphore and memory in /dev/shm. Each process would make
 * its own of those and leave them if it is killed, so all use those of one `faketime`, which removes them.
 */
async function holdFaketime(): Promise<Env> {
	const program = Bun.which("faketime");
	if (!program)
		throw new Error("this test needs faketime (apt-get install faketime)");
	const names = ["LD_PRELOAD", "FAKETIME_SHARED"] as const;
	const say = 'printf "%s\\n" "$LD_PRELOAD" "$FAKETIME_SHARED" end; exec cat';
	const holder = Bun.spawn([program, "-m", "-f", "+0", "sh", "-c", say], {
		stdin: "pipe",
		stdout: "pipe",
	});
	afterTest(async () => {
		holder.stdin.end();
		await holder.exited;
	});
	let said = "";
	const decoder = new TextDecoder();
	for await (const chunk of holder.stdout) {
		said += decoder.decode(chunk);
		if (said.endsWith("end\n")) break;
	}
	const values = said.split("\n");
	return Object.fromEntries(names.map((name, at) => [name, values[at] ?? ""]));
}
