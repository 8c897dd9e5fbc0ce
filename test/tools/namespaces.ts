/** Other users, small disks and pid namespaces: what needs root or a user namespace. */
import {
	appendFileSync,
	chownSync,
	mkdirSync,
	rmSync,
	statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { afterTest } from "./concurrent.ts";
import { type Sandbox, until } from "./harness.ts";

/** An argv prefix: an unprivileged user, because file modes do not apply to root. */
export const unprivileged =
	process.getuid?.() === 0
		? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
		: [];

/** Gives a sandbox to an unprivileged user. Returns the argv prefix that acts as that user. */
export function handOver(box: Sandbox, uid = 65534): string[] {
	if (process.getuid?.() !== 0) return [];
	mkdirSync(box.dir, { recursive: true, mode: 0o700 });
	Bun.spawnSync(["chown", "-R", `${uid}:65534`, dirname(box.dir)]);
	return ["setpriv", `--reuid=${uid}`, "--regid=65534", "--clear-groups"];
}

/**
 * Sets the mode of each folder of a store. It is repeated until every folder that was found was still there:
 * a process that uses the store makes folders and removes them.
 */
export const setFolderModes = (box: Sandbox, mode: string) =>
	until(
		() =>
			Bun.spawnSync(
				["find", box.dir, "-type", "d", "-exec", "chmod", mode, "{}", "+"],
				{ stderr: "ignore" },
			).exitCode === 0,
		`mode ${mode} on every folder of ${box.dir}`,
	);

/**
 * Makes a file or folder another user's for the command behind the argv prefix that it returns. Without
 * root, one of root's is mounted over it, in a namespace of that command.
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
	/** An argv prefix: the namespace in which the disk is mounted. */
	argv: string[];
	/** The store as this process sees it. */
	dir: string;
	/** Fills the disk to the last byte. */
	fill: () => void;
	free: () => void;
};

/** Mounts a disk of a few KiB on the store, in a namespace of the test. */
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
 * An argv prefix: a pid namespace of the test. Its first process reaps zombies; every process in it is
 * killed when the test ends.
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
