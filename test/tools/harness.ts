/**
 * What tests share: the program under test in one of its forms, a fresh store and home for each test,
 * and waiting for facts. A test fails if a process that it started is alive 30 s after its end.
 *
 *     BG="dist/bg" | "node dist/bg.mjs" | "deno run -A dist/bg.mjs" | …   (bun bg.ts)
 */

import {
	lstatSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	readlinkSync,
	realpathSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { Task } from "../../lib/task/schema.ts";
import { afterTest } from "./concurrent.ts";

export const root = join(import.meta.dir, "..", "..");

/** The droid of fast tests: it prints what the real one was recorded to print. */
export const standIn = join(import.meta.dir, "stand-in.ts");

/** The argv of the program under test. */
export const program: string[] = (process.env.BG ?? "bun bg.ts")
	.split(" ")
	.map((part) => (/^(dist\/|bg\.ts$)/.test(part) ? join(root, part) : part));

export type Answer = {
	code: number | null;
	stdout: string;
	stderr: string;
	/** The error, wherever it was said: stderr, and the same line for an error as JSON on stdout. */
	error: string;
	/** Standard output as JSON. */
	// biome-ignore lint/suspicious/noExplicitAny: what an answer holds is what a test is about
	json: () => any;
};

export type CallOptions = {
	env?: Record<string, string | undefined>;
	cwd?: string;
	input?: string | Uint8Array;
	argv?: string[];
};

export type Sandbox = {
	/** The store: BG_DIR. */
	dir: string;
	/** HOME, and the folder commands are called in. */
	home: string;
	env: Record<string, string>;
	bg: (args: string[], options?: CallOptions) => Promise<Answer>;
	/** Launches a command and returns its id. */
	run: (command: string[], options?: CallOptions) => Promise<string>;
	/** The record on disk. */
	record: (id: string) => Task;
	/** The record without the times that its supervisor notes once a minute: it stays the same while nothing happens. */
	state: (id: string) => Task;
	/** Waits until a record passes a test, and returns it. */
	untilTask: (
		id: string,
		test: (task: Task) => unknown,
		what: string,
	) => Promise<Task>;
	/** Living processes that were started with this store in their environment. */
	alive: () => { pid: number; command: string }[];
};

/** A store, a home and a way to call bg, for one test. */
export function sandbox(): Sandbox {
	const base = realpathSync(mkdtempSync(join(tmpdir(), "bg-test-")));
	const dir = join(base, "store");
	const home = join(base, "home");
	mkdirSync(home);
	// The runtimes of this project's own development come first, as its scripts have them.
	const path = `${join(root, "node_modules", ".bin")}${delimiter}${process.env.PATH}`;
	const env = { PATH: path, HOME: home, BG_DIR: dir, TMPDIR: tmpdir() };
	const bg = async (args: string[], options: CallOptions = {}) => {
		const child = Bun.spawn([...(options.argv ?? program), ...args], {
			cwd: options.cwd ?? home,
			env: { ...env, ...options.env } as Record<string, string>,
			stdin:
				options.input === undefined ? "ignore" : Buffer.from(options.input),
			stdout: "pipe",
			stderr: "pipe",
		});
		const [stdout, stderr] = await Promise.all([
			new Response(child.stdout).text(),
			new Response(child.stderr).text(),
		]);
		await child.exited;
		const json = () => {
			try {
				return JSON.parse(stdout);
			} catch {
				throw new Error(`no JSON: ${JSON.stringify({ args, stdout, stderr })}`);
			}
		};
		const [, said] = /^(\{"error":.*\})\n$/.exec(stdout) ?? [];
		const told = said ? `bg: ${JSON.parse(said).error}\n` : "";
		const error = told + stderr;
		return { code: child.exitCode, stdout, stderr, error, json };
	};
	const record = (id: string): Task =>
		JSON.parse(readFileSync(join(dir, `${id}.json`), "utf8"));
	const box: Sandbox = {
		dir,
		home,
		env,
		bg,
		record,
		state: (id) => ({
			...record(id),
			elapsed_ms: undefined,
			quiet_ms: undefined,
		}),
		run: async (command, options) => {
			const answer = await bg(
				["run", "-q", "a test", "--", ...command],
				options,
			);
			if (answer.code !== 0) throw new Error(answer.error);
			return answer.stdout.trim();
		},
		untilTask: (id, test, what) =>
			until(
				() => {
					const task = record(id);
					return test(task) ? task : undefined;
				},
				what,
				() => JSON.stringify(record(id)),
			),
		alive: () => processesWith(`BG_DIR=${dir}`),
	};
	afterTest(() => close(box, base));
	return box;
}

/** Waits for every process of the test to exit; throws if one does not. */
async function close(box: Sandbox, base: string): Promise<void> {
	try {
		await until(
			() => box.alive().length === 0,
			"every process of the test gone",
			() => JSON.stringify(box.alive()),
			30_000,
		);
	} finally {
		for (const { pid } of box.alive()) end(pid);
		rmSync(base, { recursive: true, force: true });
	}
}

/**
 * Waits until a condition returns a truthy value, and returns it.
 * @throws Error with what was waited for and what was seen last, after `timeout` ms.
 */
export async function until<T>(
	condition: () => T | Promise<T>,
	what: string,
	seen: () => string = () => "",
	timeout = 90_000,
): Promise<NonNullable<T>> {
	const deadline = performance.now() + timeout;
	for (;;) {
		const answer = await condition();
		if (answer) return answer;
		if (performance.now() > deadline)
			throw new Error(`waited in vain for ${what}; last seen: ${seen()}`);
		await Bun.sleep(10);
	}
}

/** The text of a file; nothing if it cannot be read. */
export function readOrNothing(path: string): string {
	try {
		return readFileSync(path, "utf8");
	} catch {
		return "";
	}
}

/** The lines of a file that have been written whole, without the empty ones. */
export const linesOf = (path: string): string[] =>
	readOrNothing(path)
		.split("\n")
		.slice(0, -1)
		.filter((line) => line);

/** Everything below a folder: mode, owner, size and time of last change. */
export function snapshot(dir: string): Record<string, string> {
	const names = readdirSync(dir, { recursive: true }).map(String).sort();
	return Object.fromEntries(
		["", ...names].map((name) => {
			const { mode, uid, gid, size, ctimeMs } = lstatSync(join(dir, name));
			return [name, [mode.toString(8), uid, gid, size, ctimeMs].join(" ")];
		}),
	);
}

/** Writes an executable file and returns its path. */
export function executable(dir: string, name: string, text: string): string {
	mkdirSync(dir, { recursive: true });
	const path = join(dir, name);
	writeFileSync(path, text, { mode: 0o755 });
	return path;
}

/** Living processes (no zombies) with `NAME=value` in their environment. */
export function processesWith(
	variable: string,
): { pid: number; command: string }[] {
	return readdirSync("/proc").flatMap((name) => {
		if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
		try {
			const environment = readFileSync(`/proc/${name}/environ`, "utf8");
			if (!environment.split("\0").includes(variable)) return [];
			const command = readFileSync(`/proc/${name}/cmdline`, "utf8");
			return [{ pid: Number(name), command: command.replaceAll("\0", " ") }];
		} catch {
			return [];
		}
	});
}

/** Waits until a call of bg waits for ends: it watches them, or polls if no inotify instance is free. */
export async function untilWatching(
	box: Sandbox,
	words: string,
): Promise<void> {
	const since = new Map<number, number>();
	const waits = (pid: number) => {
		const first = since.get(pid) ?? performance.now();
		since.set(pid, first);
		return isWatching(pid) || performance.now() - first > 10_000;
	};
	await until(
		() =>
			box
				.alive()
				.filter(({ command }) => command.includes(words))
				.some(({ pid }) => waits(pid)),
		"a process that watches for ends",
	);
}

/** Whether a process watches files (Linux: inotify). */
function isWatching(pid: number): boolean {
	const folder = `/proc/${pid}/fd`;
	try {
		return readdirSync(folder).some(
			(fd) => readlinkSync(`${folder}/${fd}`) === "anon_inode:inotify",
		);
	} catch {
		return false;
	}
}

/** Whether a process lives; a zombie does not. */
export function isAlive(pid: number): boolean {
	try {
		const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
		return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
	} catch {
		return false;
	}
}

function end(pid: number): void {
	try {
		process.kill(pid, "SIGKILL");
	} catch {}
}
