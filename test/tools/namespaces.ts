/** Other users, small disks and pid namespaces: what a test cannot have without namespaces or root. */
import {
	appendFileSync,
	chownSync,
	mkdirSync,
	rmSync,
	statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { afterTest } from "./concurrent.ts";
import type { Sandbox } from "./harness.ts";

/** Runs the rest of an argv as a user who may not do everything: file modes mean nothing to root. */
export const unprivileged =
	process.getuid?.() === 0
		? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
		: [];

/** Gives a sandbox to a user who may not do everything. Returns the argv that acts as that user. */
export function handOver(box: Sandbox, uid = 65534): string[] {
	if (process.getuid?.() !== 0) return [];
	mkdirSync(box.dir, { mode: 0o700 });
	for (const path of [box.dir, box.home, dirname(box.dir)])
		chownSync(path, uid, 65534);
	return ["setpriv", `--reuid=${uid}`, "--regid=65534", "--clear-groups"];
}

/**
 * Makes a file or folder another user's, as the rest of an argv sees it. Who is not root puts one of
 * the system's in its place, in a namespace that the argv alone has.
 */
export function giveAway(path: string): string[] {
	if (unprivileged.length) {
		chownSync(path, 65534, 65534);
		return [];
	}
	const theirs = statSync(path).isDirectory() ? "/etc" : "/etc/passwd";
	const mount = 'mount --rbind "$0" "$1" && shift && exec "$@"';
	const shell = ["sh", "-c", mount, theirs, path];
	return ["unshare", "--map-root-user", "--mount", ...shell];
}

/** A disk for the store of a sandbox. */
export type SmallDisk = {
	/** Runs the rest of an argv where the disk is mounted. */
	argv: string[];
	/** The store as this process sees it. */
	dir: string;
	/** Takes all the room that is left. */
	fill: () => void;
	free: () => void;
};

/** Mounts a disk of a few KiB where the store will be, in a namespace that the test alone has. */
export async function smallDisk(box: Sandbox, KiB = 256): Promise<SmallDisk> {
	const mount = `mount -t tmpfs -o mode=700,size=${KiB}k tmpfs "$1" && echo mounted && exec sleep 600`;
	mkdirSync(box.dir);
	const holder = Bun.spawn(
		["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", box.dir],
		{ stdin: "ignore", stdout: "pipe", stderr: "inherit" },
	);
	afterTest(async () => {
		holder.kill("SIGKILL");
		await holder.exited;
	});
	const { value } = await holder.stdout.getReader().read();
	if (!value) throw new Error("no namespace with a disk of its own to be had");
	const dir = `/proc/${holder.pid}/root${box.dir}`;
	const filling = join(dir, "filling");
	return {
		argv: [
			"nsenter",
			`--target=${holder.pid}`,
			"--user",
			"--mount",
			"--preserve-credentials",
		],
		dir,
		fill: () => {
			for (let size = 4096; size; size = size > 1 ? size >> 1 : 0)
				try {
					for (;;) appendFileSync(filling, Buffer.alloc(size));
				} catch {}
		},
		free: () => rmSync(filling),
	};
}

/**
 * A pid namespace that the test alone has: runs the rest of an argv in it. Its first process buries
 * the dead, and all in it end with the test.
 */
export async function pidNamespace(): Promise<string[]> {
	const init = "echo here; while :; do sleep 1; done";
	const holder = Bun.spawn(
		[
			"unshare",
			...["--map-root-user", "--pid", "--mount-proc", "--fork", "--kill-child"],
			...["sh", "-c", init],
		],
		{ stdin: "ignore", stdout: "pipe", stderr: "inherit" },
	);
	afterTest(async () => {
		holder.kill("SIGKILL");
		await holder.exited;
	});
	const { value } = await holder.stdout.getReader().read();
	if (!value) throw new Error("no pid namespace to be had");
	return [
		"nsenter",
		`--target=${holder.pid}`,
		...["--user", "--mount", "--preserve-credentials"],
		`--pid=/proc/${holder.pid}/ns/pid_for_children`,
	];
}
