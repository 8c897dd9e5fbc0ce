/**
 * Takes all inotify instances of this user. The processes of the whole user have none left until `end`:
 * only for what runs alone. As a program, it holds them until its standard input ends.
 */
import { dlopen } from "bun:ffi";
import { closeSync, openSync, readFileSync } from "node:fs";

export type Shortage = {
	/** How many instances are held. */
	held: number;
	end: () => Promise<void>;
};

/** Takes every instance that is free or becomes free. Resolves when none is left. */
export async function exhaustInotify(): Promise<Shortage> {
	const holder = Bun.spawn([process.execPath, import.meta.path], {
		stdin: "pipe",
		stdout: "pipe",
		stderr: "inherit",
	});
	const end = async () => {
		holder.kill("SIGKILL");
		await holder.exited;
	};
	const decoder = new TextDecoder();
	for await (const chunk of holder.stdout)
		return { held: Number(decoder.decode(chunk)), end };
	await end();
	throw new Error("unable to take the inotify instances");
}

if (import.meta.main) holdInstances();

// --- internal ---

/**
 * Opens instances itself: `fs.watch` shares one in a process. An instance that another process closes is
 * taken within 10 ms.
 */
function holdInstances(): void {
	const { symbols } = dlopen(findLibc(), {
		inotify_init1: { args: ["i32"], returns: "i32" },
	});
	let held = 0;
	const take = () => {
		while (symbols.inotify_init1(0) >= 0) held++;
	};
	take();
	// EMFILE is also the answer of a process with no descriptor left. Then this throws.
	closeSync(openSync("/dev/null", "r"));
	console.log(held);
	setInterval(take, 10);
	process.stdin.on("end", () => process.exit()).resume();
}

/** The C library that this process has loaded. */
function findLibc(): string {
	const maps = readFileSync("/proc/self/maps", "utf8");
	const path = /\/\S*\/(?:libc\.so\.6|libc-[\d.]+\.so|ld-musl-\S+)$/m.exec(
		maps,
	);
	if (!path) throw new Error("no C library in /proc/self/maps");
	return path[0];
}
