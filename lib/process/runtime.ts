/**
 * What the fast path asks of its runtime, in the way that is quickest there: under Deno `process`
 * costs 11 ms, `node:fs` 10 more and `setTimeout` 3, under Bun `node:fs` 1. All else in this
 * program is written against Node's modules. The one room that names `Bun` and `Deno`.
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
 * Deno does not start in a removed folder. The script's first lines start it in `/` instead and put
 * this word before the verb.
 */
export const removedFolderWord = "--removed-folder";

const isFolderRemoved = deno?.args[0] === removedFolderWord;

export const programArguments = () =>
	deno?.args.slice(isFolderRemoved ? 1 : 0) ?? process.argv.slice(2);

/** The current folder; undefined if it was removed. */
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
 * Makes a path absolute. `name` is the flag or variable the path came from.
 * @throws Error of the system's kind if the path is relative and the current folder was removed.
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

export const readVariable = (name: string) =>
	deno ? deno.env.get(name) : process.env[name];

/** Calls back after some ms, if this process has not exited by then. */
export function runAfter(ms: number, action: () => void): void {
	if (deno) AbortSignal.timeout(ms).onabort = action;
	else setTimeout(action, ms);
}

/** Whether there is something at a path. */
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

/** Opens standard input: each call reads on, and at the end answers nothing. */
export function openInput(): () => Promise<{ value?: Uint8Array | undefined }> {
	const stream = bun?.stdin.stream() ?? deno?.stdin.readable;
	if (stream) {
		const reader = stream.getReader();
		return () => reader.read();
	}
	const chunks = process.stdin[Symbol.asyncIterator]();
	return () => chunks.next();
}

export const exit = (code: number): never =>
	deno ? deno.exit(code) : process.exit(code);

export function sleepSync(ms: number): void {
	Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
