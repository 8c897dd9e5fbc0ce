/**
 * What fast paths need from their runtime, in the form that loads fastest: under Deno `process`
 * costs 11 ms, `node:fs` 10 more and `setTimeout` 3; under Bun `node:fs` costs 1. The only file that
 * names `Bun` and `Deno`: all other code is written against Node's modules.
 */
declare const Deno:
	| {
			args: string[];
			env: { get: (name: string) => string | undefined };
			stdin: { readable: ReadableStream<Uint8Array> };
			statSync: (path: string) => unknown;
			exit: (code: number) => never;
	  }
	| undefined;

const bun = typeof Bun === "undefined" ? undefined : Bun;
const deno = typeof Deno === "undefined" ? undefined : Deno;

/**
 * Deno does not start in a removed folder. The script's first lines then start it in `/` and put this
 * word before the verb.
 */
export const removedFolderWord = "--removed-folder";

const isFolderRemoved = deno?.args[0] === removedFolderWord;

/** The arguments of this program, without the runtime's. */
export const programArguments = () =>
	deno?.args.slice(isFolderRemoved ? 1 : 0) ?? process.argv.slice(2);

/** The current folder, an absolute path; undefined if it was removed. */
export function currentFolder(): string | undefined {
	if (isFolderRemoved) return undefined;
	try {
		return process.cwd();
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
		throw error;
	}
}

/**
 * Makes a path absolute. `name` is the flag or variable that the path came from.
 * @throws Error (a system error) if the path is relative and the current folder was removed.
 */
export function toAbsolute(name: string, path: string): string {
	if (path.startsWith("/")) return path;
	const folder = currentFolder();
	if (folder !== undefined) return `${folder}/${path}`;
	throw Object.assign(
		new Error(
			`${name} is relative (${path}), and the current folder was removed: give an absolute path, or cd to another folder`,
		),
		{ code: "ENOENT", syscall: "getcwd" },
	);
}

/** The value of an environment variable; undefined if it is not set. */
export const readVariable = (name: string) =>
	deno ? deno.env.get(name) : process.env[name];

/** Calls back after `ms` milliseconds, if this process still runs. */
export function runAfter(ms: number, action: () => void): void {
	if (deno) AbortSignal.timeout(ms).onabort = action;
	else setTimeout(action, ms);
}

/** Whether a file exists at a path. (Bun does not count folders.) */
export async function pathExists(path: string): Promise<boolean> {
	if (bun) return bun.file(path).exists();
	if (!deno) return process.getBuiltinModule("node:fs").existsSync(path);
	try {
		deno.statSync(path);
		return true;
	} catch {
		return false;
	}
}

/** Opens standard input. Each call returns the next bytes; at the end, no value. */
export function openInput(): () => Promise<{ value?: Uint8Array }> {
	const stream = bun?.stdin.stream() ?? deno?.stdin.readable;
	if (stream) {
		const reader = stream.getReader();
		return () => reader.read();
	}
	const chunks = process.stdin[Symbol.asyncIterator]();
	return () => chunks.next();
}

/** A program to start: an absolute path, its arguments, and its whole environment. */
export type Command = {
	program: string;
	args: readonly string[];
	env: NodeJS.ProcessEnv;
};

/** The descriptors of a program: each is /dev/null, or one of this process. */
export type Descriptors = [Descriptor, Descriptor, Descriptor, ...Descriptor[]];
type Descriptor = "ignore" | number;

/**
 * Starts a program in a session of its own, in `/`, which outlives this process.
 * @returns its pid.
 * @throws Error if it could not be started.
 */
export function startDetached(
	{ program, args, env }: Command,
	stdio: Descriptors,
): number {
	const options = { cwd: "/", env, detached: true };
	if (bun) {
		const child = bun.spawn([program, ...args], { ...options, stdio });
		child.unref();
		return child.pid;
	}
	const { spawn } = process.getBuiltinModule("node:child_process");
	const child = spawn(program, args, { ...options, stdio });
	// A failed spawn emits an error, and has no pid.
	child.on("error", () => {});
	if (!child.pid)
		throw new Error(`no process or no descriptor left for ${program}`);
	child.unref();
	return child.pid;
}

/** What the exit of this process waits for. (The entry point of a built program has a copy of this module.) */
const holds = new Set<Promise<unknown>>();

/** Holds the exit of this process until something is settled that nobody awaits. */
export function holdExit(until: Promise<unknown>): void {
	const held = until.finally(() => holds.delete(held));
	holds.add(held);
}

/** Waits until nothing holds the exit. */
export async function waitForHolds(): Promise<void> {
	while (holds.size) await Promise.allSettled(holds);
}

/** Ends this process with an exit code. */
export const exit = (code: number): never =>
	deno ? deno.exit(code) : process.exit(code);

/** Waits `ms` milliseconds; other work of this process goes on. */
export const sleep = (ms: number): Promise<void> =>
	new Promise((resolve) => setTimeout(resolve, ms));

/** Blocks this thread for `ms` milliseconds. */
export function sleepSync(ms: number): void {
	Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
