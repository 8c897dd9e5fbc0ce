/** A disk of its own for a store, and what a bad day does to it. Needs root. */
import {
	appendFileSync,
	chmodSync,
	chownSync,
	existsSync,
	mkdirSync,
	rmdirSync,
	rmSync,
} from "node:fs";
import { join } from "node:path";

/** The size of the disk, in bytes. */
const diskBytes = 24 * 2 ** 20;

export class Disk {
	readonly dir: string;
	/** What is mounted over the disk while it is read-only: a second mount of it. */
	#isCovered = false;

	/** Mounts a tmpfs at a folder that does not exist yet. */
	constructor(dir: string, uid: number) {
		this.dir = dir;
		mkdirSync(dir);
		run("mount", "-t", "tmpfs", "-o", `size=${diskBytes}`, "bg-bad-day", dir);
		chownSync(dir, uid, uid);
		chmodSync(dir, 0o700);
	}

	/**
	 * Makes the disk read-only, and writable again. The kernel refuses that while a file is open for writing: then a
	 * read-only mount of the same disk covers it, and what is open stays so.
	 * @returns how it was done.
	 */
	setReadOnly(isReadOnly: boolean): "remounted" | "covered" {
		const { dir } = this;
		if (isReadOnly && !succeeds("mount", "-o", "remount,ro", dir)) {
			// Read-only before anything can open a file in it. A mount of a mount inherits that.
			const side = `${dir}.read-only`;
			mkdirSync(side);
			run("mount", "--bind", dir, side);
			run("mount", "-o", "remount,bind,ro", side);
			run("mount", "--bind", side, dir);
			this.#isCovered = true;
			run("umount", side);
			rmdirSync(side);
		} else if (!isReadOnly && this.#isCovered) {
			run("umount", "--lazy", dir);
			this.#isCovered = false;
			return "covered";
		} else if (!isReadOnly) run("mount", "-o", "remount,rw", dir);
		return this.#isCovered ? "covered" : "remounted";
	}

	/** Fills the disk to the last byte. What is freed meanwhile is free until the next call. */
	fill(): void {
		for (let size = 2 ** 16; size; size = size > 1 ? size >> 1 : 0)
			try {
				for (;;) appendFileSync(this.#filling, Buffer.alloc(size));
			} catch {}
	}

	free(): void {
		rmSync(this.#filling, { force: true });
	}

	/** Unmounts everything. What still uses it keeps it until its end. */
	remove(): void {
		for (let tries = 0; tries < 3 && existsSync(this.dir); tries++)
			if (!succeeds("umount", "--lazy", this.dir)) return;
	}

	get #filling(): string {
		return join(this.dir, "filling");
	}
}

function succeeds(...argv: string[]): boolean {
	return Bun.spawnSync(argv, { stdout: "ignore", stderr: "ignore" }).success;
}

function run(...argv: string[]): void {
	const { success, stderr } = Bun.spawnSync(argv, { stderr: "pipe" });
	if (!success) throw new Error(`${argv.join(" ")}: ${stderr}`);
}
