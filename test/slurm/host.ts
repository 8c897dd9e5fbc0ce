/** What a cluster takes of this machine: processes and cgroups that end with this process, and free ports. */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

/** A program that dies with this process. */
export class Daemon {
	readonly #child: ReturnType<typeof spawn>;
	readonly #ended: Promise<void>;

	constructor(argv: string[], env: NodeJS.ProcessEnv) {
		this.#child = spawn("setpriv", ["--pdeathsig", "KILL", ...argv], {
			env,
			stdio: "ignore",
		});
		this.#ended = new Promise((resolve) => {
			this.#child.once("exit", () => resolve());
			this.#child.once("error", () => resolve());
		});
	}

	get pid(): number | undefined {
		return this.#child.pid;
	}

	stop(signal: NodeJS.Signals): Promise<void> {
		this.#child.kill(signal);
		return this.#ended;
	}
}

/**
 * Removes the folder and cgroups once this process has ended, or as soon as the returned function is called.
 */
export function startCleaner(
	folder: string,
	cgroups: readonly Cgroup[],
): () => Promise<void> {
	const script = `
cat
for _ in $(seq 100); do
	rm -rf "$1"
	left=
	for group in $2; do
		[ -d "$group" ] || continue
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
		[ -d "$group" ] && left=1
	done
	[ -d "$1" ] || [ -n "$left" ] || exit 0
	sleep .1
done`;
	const roots = new Set(cgroups.map(({ root }) => root));
	const words = ["sh", folder, [...roots].join(" ")];
	const child = spawn("setsid", ["sh", "-c", script, ...words], {
		stdio: ["pipe", "ignore", "ignore"],
	});
	const ended = new Promise<void>((resolve) => {
		child.once("exit", () => resolve());
	});
	return () => {
		child.stdin?.end();
		return ended;
	};
}

/** `path` is mounted at `mount` on a node; all of `root` is removed in the end. */
export type Cgroup = {
	node: string;
	path: string;
	mount: string;
	root: string;
};

/** What Slurm needs of cgroups of version 1. */
const controllers = ["freezer", "memory", "cpuset", "devices"];

/** Makes cgroups for each node below our own; none if the machine does not let us. */
export function makeCgroups(name: string, nodes: readonly string[]): Cgroup[] {
	const own = readFileSync("/proc/self/cgroup", "utf8");
	const made: Cgroup[] = [];
	try {
		for (const controller of controllers) {
			const [, path] =
				new RegExp(`^\\d+:${controller}:(/.*)$`, "m").exec(own) ?? [];
			if (path === undefined) return [];
			const mount = `/sys/fs/cgroup/${controller}`;
			const root = join(mount, path, `bg-slurm-${name}`);
			for (const node of nodes) {
				mkdirSync(join(root, node), { recursive: true });
				made.push({ node, path: join(root, node), mount, root });
			}
		}
		return made;
	} catch {
		return [];
	}
}

/** Ports that nobody listens on. */
export async function findPorts(count: number): Promise<number[]> {
	const servers = await Promise.all(
		Array.from(
			{ length: count },
			() =>
				new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
					const server = createServer();
					server.once("error", reject);
					server.listen(0, "127.0.0.1", () => resolve(server));
				}),
		),
	);
	const ports = servers.map((server) => {
		const address = server.address();
		return typeof address === "object" && address ? address.port : 0;
	});
	await Promise.all(
		servers.map((server) => new Promise((resolve) => server.close(resolve))),
	);
	return ports;
}
