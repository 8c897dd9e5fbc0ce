/**
 * A Slurm cluster on this machine, for tests: a controller, nodes `n1`, `n2` … and a submit host `login`. Each node and
 * the submit host have a machine id, a host name, processes and mounts of their own, and share the files. Needs root.
 *
 * Nothing outlives the process that started it, however that ends: its programs die with it, and a shell that waits
 * for its end removes the folder and the cgroups.
 */
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	realpathSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildConfig, type ClusterOptions, cgroupConfig } from "./config.ts";
import { Daemon, findPorts, makeCgroups, startCleaner } from "./host.ts";

export type Answer = { code: number | null; stdout: string; stderr: string };

export type HostCall = {
	env?: Record<string, string | undefined>;
	cwd?: string;
	input?: string;
};

export type Cluster = {
	/** Where all of it lies. Nodes share it. */
	folder: string;
	/** How Slurm tracks the processes of jobs. */
	proctrack: "cgroup" | "linuxproc";
	/** The variables that Slurm's programs need. */
	env: { SLURM_CONF: string; PATH: string };
	nodes: string[];
	/** An argv prefix: runs the command on a host, in the folder `cwd`. */
	on: (host: string, cwd?: string) => string[];
	/** Runs a command on a host and returns what it printed. */
	at: (host: string, argv: string[], call?: HostCall) => Promise<Answer>;
	/** Runs one of Slurm's programs beside the controller. @throws Error if it fails. */
	slurm: (...argv: string[]) => Promise<string>;
	startNode: (name: string) => Promise<void>;
	/** The node dies at once, with all of its processes. */
	killNode: (name: string) => Promise<void>;
	/** Does nothing if it runs. */
	startController: () => Promise<void>;
	/** The controller writes its state and ends. */
	stopController: () => Promise<void>;
	killController: () => Promise<void>;
	end: () => Promise<void>;
};

/**
 * Starts a cluster and waits until all nodes are idle.
 * @throws Error if it does not come up. Exits with 1 if this machine cannot have one.
 */
export async function start(options: ClusterOptions = {}): Promise<Cluster> {
	const missing = missingForCluster();
	if (missing) {
		console.error(missing);
		process.exit(1);
	}
	const { nodes: count = 3, cgroups: wantsCgroups = true } = options;
	const folder = realpathSync(mkdtempSync(join(tmpdir(), "bg-slurm-")));
	const nodes = Array.from({ length: count }, (_, index) => `n${index + 1}`);
	const hosts = [...nodes, "login"];
	const cgroups = wantsCgroups ? makeCgroups(folder.slice(-6), nodes) : [];
	const clean = startCleaner(folder, cgroups);
	const path = `/usr/sbin:/sbin:${process.env.PATH}`;
	const env = { SLURM_CONF: join(folder, "slurm.conf"), PATH: path };
	const daemons = new Map<string, Daemon>();
	const proctrack = cgroups.length ? "cgroup" : "linuxproc";

	const startDaemon = (name: string, argv: string[]) => {
		daemons.set(name, new Daemon(argv, { ...process.env, ...env }));
	};
	const stopDaemon = async (name: string, signal: NodeJS.Signals) => {
		await daemons.get(name)?.stop(signal);
		daemons.delete(name);
	};
	const on = (host: string, cwd = folder) => {
		const pid = daemons.get(host)?.pid;
		if (!pid) throw new Error(`${host} does not run`);
		return [
			...["nsenter", `--target=${pid}`, "--mount", "--uts"],
			...[`--pid=/proc/${pid}/ns/pid_for_children`, "env", "-C", cwd],
		];
	};
	const run = async (argv: string[], call: HostCall = {}): Promise<Answer> => {
		const child = Bun.spawn(argv, {
			env: { ...process.env, ...env, ...call.env } as Record<string, string>,
			stdin: call.input === undefined ? "ignore" : Buffer.from(call.input),
			stdout: "pipe",
			stderr: "pipe",
		});
		const [stdout, stderr] = await Promise.all([
			new Response(child.stdout).text(),
			new Response(child.stderr).text(),
		]);
		await child.exited;
		return { code: child.exitCode, stdout, stderr };
	};
	const slurm = async (...argv: string[]) => {
		const { code, stdout, stderr } = await run(argv);
		if (code !== 0) throw new Error(`${argv.join(" ")}: ${stderr}`);
		return stdout;
	};
	const countIdle = async () => {
		const { stdout } = await run(["sinfo", "-h", "-N", "-o", "%N %t"]);
		return new Set(stdout.split("\n").filter((line) => / idle$/.test(line)))
			.size;
	};
	const startHost = (name: string) => {
		const own = cgroups.filter(({ node }) => node === name);
		startDaemon(name, [
			...["unshare", "--pid", "--uts", "--mount", "--fork"],
			...["--kill-child", "--mount-proc", "bash", "-c", hostScript],
			...[name, name === "login" ? "" : name, join(folder, `${name}.id`)],
			...own.flatMap(({ path: from, mount: to }) => [from, to]),
		]);
	};
	const startController = async () => {
		if (daemons.has("controller")) return;
		startDaemon("controller", ["slurmctld", "-D", "-i"]);
		await until(
			async () => (await run(["scontrol", "ping"])).stdout.includes("is UP"),
			() => `the controller does not come up: ${tail(folder, "controller")}`,
		);
	};
	const cluster: Cluster = {
		folder,
		proctrack,
		env,
		nodes,
		on,
		at: (host, argv, call) => run([...on(host, call?.cwd), ...argv], call),
		slurm,
		startNode: async (name) => {
			startHost(name);
			let state = "";
			await until(
				async () => {
					const set = ["scontrol", "update", `node=${name}`, "state=resume"];
					await run(set);
					const ask = ["sinfo", "-h", "-n", name, "-o", "%t %E"];
					state = (await run(ask)).stdout;
					return /^(idle|mix|alloc|comp) /m.test(state);
				},
				() => `${name} is ${state.trim()}: ${tail(folder, name)}`,
			);
		},
		killNode: (name) => stopDaemon(name, "SIGKILL"),
		startController,
		stopController: () => stopDaemon("controller", "SIGTERM"),
		killController: () => stopDaemon("controller", "SIGKILL"),
		end: async () => {
			for (const name of [...daemons.keys()].reverse())
				await stopDaemon(name, "SIGKILL");
			await clean();
		},
	};
	try {
		const key = crypto.getRandomValues(new Uint8Array(128));
		writeFileSync(join(folder, "key"), key, { mode: 0o400 });
		mkdirSync(join(folder, "state"));
		const ports = await findPorts(count + 1);
		writeFileSync(
			env.SLURM_CONF,
			buildConfig({ folder, nodes, ports, proctrack, options }),
		);
		writeFileSync(join(folder, "cgroup.conf"), cgroupConfig);
		for (const [index, name] of hosts.entries())
			writeFileSync(
				join(folder, `${name}.id`),
				`${String(index + 1).padStart(32, "0123456789abcdef")}\n`,
			);
		const munge = [
			`--key-file=${folder}/key`,
			`--socket=${folder}/munge.socket`,
			...["pid", "log", "seed"].map(
				(name) => `--${name}-file=${folder}/munge.${name}`,
			),
		];
		startDaemon("munged", ["munged", "--foreground", "--force", ...munge]);
		await until(
			() => existsSync(join(folder, "munge.socket")),
			() => `munged does not come up: ${tail(folder, "munge")}`,
		);
		await startController();
		for (const name of hosts) startHost(name);
		await until(
			async () => (await countIdle()) === count,
			() => `the nodes do not come up: ${tail(folder, "n1")}`,
		);
		return cluster;
	} catch (error) {
		await cluster.end();
		throw error;
	}
}

/** The programs, by the package of Debian and its relatives that has them. */
const programs = {
	"slurm-wlm": ["slurmctld", "slurmd", "sbatch", "scontrol"],
	munge: ["munged"],
	"util-linux": ["unshare", "nsenter", "setpriv"],
};

/** What this machine lacks for a cluster, in a sentence; undefined if it lacks nothing. */
export function missingForCluster(): string | undefined {
	const PATH = `/usr/sbin:/sbin:${process.env.PATH}`;
	const missing = Object.entries(programs).filter(([, names]) =>
		names.some((name) => !Bun.which(name, { PATH })),
	);
	const wants = missing.map(([name]) => name).join(" ");
	if (wants) return `Slurm is missing: apt-get install ${wants}`;
	return process.getuid?.() === 0
		? undefined
		: "a Slurm cluster with nodes of their own needs root";
}

// --- internal ---

/** What a host does: `$1` is a node or empty, `$2` its machine id, then pairs of a cgroup and its place. */
const hostScript = `
hostname "$0"
mount --bind "$2" /etc/machine-id
node=$1
shift 2
while [ $# -gt 1 ]; do mount --bind "$1" "$2"; shift 2; done
if [ "$node" ]; then slurmd -D -N "$node" & fi
while :; do wait; sleep 1; done`;

async function until(
	condition: () => boolean | Promise<boolean>,
	what: () => string,
): Promise<void> {
	const deadline = performance.now() + 60_000;
	while (!(await condition())) {
		if (performance.now() > deadline) throw new Error(what());
		await Bun.sleep(50);
	}
}

/** The end of a log, for an error message. */
function tail(folder: string, name: string): string {
	try {
		return readFileSync(join(folder, `${name}.log`), "utf8").slice(-2000);
	} catch {
		return "it has written no log";
	}
}

/** `bun test/slurm/cluster.ts [nodes]`: a cluster until standard input ends, and how to get in. */
if (import.meta.main) {
	const cluster = await start({ nodes: Number(process.argv[2] ?? 3) });
	console.log(`export SLURM_CONF=${cluster.env.SLURM_CONF}`);
	for (const host of [...cluster.nodes, "login"])
		console.log(`${host}: ${cluster.on(host).join(" ")}`);
	for await (const _ of Bun.stdin.stream());
	await cluster.end();
}
