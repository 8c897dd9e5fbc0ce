/**
 * Starts a detached supervisor: in `/`, in a session of its own, with none of its launcher's
 * descriptors. Nothing of the current folder takes effect.
 */
import { spawn, spawnSync } from "node:child_process";
import { openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { errorMessage, refused } from "../error.ts";
import { buildSelfCommand, findOnPath } from "../process/executables.ts";
import { identifyProcess } from "../process/identity.ts";
import type { Store } from "../store/paths.ts";
import type { Identity } from "../task/schema.ts";
import { supervisorVariable, taskVariable } from "../task/variables.ts";
import { quietVariables, taskEnvVariable } from "./environment.ts";

export type SupervisorOptions = {
	store: Store;
	ids: readonly string[];
	/** `--env` of each task that has one. */
	env?: Record<string, Record<string, string>>;
	/** Look after processes whose supervisor is gone. */
	adopt?: boolean;
};

/**
 * Starts a supervisor that outlives its launcher: in a session of its own, with none of the
 * launcher's descriptors, and the launcher's environment, umask, limits and cgroup.
 * @throws BgError where the system has no process left to give.
 */
export function startSupervisor({
	store,
	ids,
	env = {},
	adopt = false,
}: SupervisorOptions): Identity {
	const [program, ...args] = buildSelfCommand();
	const limit = readParentFileLimit();
	if (adopt) args.push("supervise", "--adopt", ...ids);
	else if (limit) args.push("supervise", `--open-files=${limit}`, ...ids);
	else args.push("supervise", ...ids);
	const environment: NodeJS.ProcessEnv = {
		...quietVariables,
		...process.env,
		BG_DIR: store.dir,
		[supervisorVariable]: String(process.pid),
		[taskEnvVariable]: JSON.stringify(env),
	};
	delete environment[taskVariable];
	try {
		const child = spawn(program, args, {
			cwd: "/",
			env: environment,
			stdio: openNullDevices(),
			detached: true,
		});
		// A failure arrives here too; without a pid there is nothing to identify.
		child.on("error", () => {});
		if (!child.pid)
			throw new Error(`no process or no descriptor left for ${program}`);
		child.unref();
		const identity = identifyProcess(child.pid);
		if (!identity) throw new Error(`${program} ended at once`);
		return identity;
	} catch (error) {
		throw refused(
			`unable to start a supervisor: ${errorMessage(error)} (nothing was launched)`,
		);
	}
}

/**
 * Gives the soft limit of open files back, which Bun, Deno and Node raise as they start: a task
 * shall have its launcher's.
 */
export function lowerFileLimit(limit: string): void {
	const prlimit = findOnPath("prlimit");
	if (!prlimit || !/^\d+$/.test(limit)) return;
	spawnSync(prlimit, ["--pid", String(process.pid), `--nofile=${limit}:`]);
}

// --- internal ---

/**
 * The descriptors of a supervisor: /dev/null wherever its launcher has one that is not closed by
 * exec, for Deno hands them all on, and Node those past 16. Neither can close a descriptor that it
 * did not open, but both can put another in its place, one of its own in each. See proc(5), fdinfo.
 */
function openNullDevices(): ("ignore" | number)[] {
	const stdio: ("ignore" | number)[] = ["ignore", "ignore", "ignore"];
	const folder = "/proc/self/fdinfo";
	if (!statSync(folder, { throwIfNoEntry: false })) return stdio;
	for (const name of readdirSync(folder)) {
		const fd = Number(name);
		if (fd < 3 || !isInherited(join(folder, name))) continue;
		while (stdio.length < fd) stdio.push("ignore");
		stdio[fd] = openSync("/dev/null", "r+");
	}
	return stdio;
}

function isInherited(info: string): boolean {
	try {
		const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(info, "utf8"))?.[1];
		const closeOnExec = 0o2000000;
		return !(Number.parseInt(flags ?? "", 8) & closeOnExec);
	} catch {
		// The descriptor that read the folder is gone by now.
		return false;
	}
}

/**
 * The soft limit of open files that our launcher has, where it is lower than ours: this runtime
 * has raised ours to the hard limit, which both must then share.
 */
function readParentFileLimit(): string | undefined {
	const [ownLimits, parentLimits] = ["self", String(process.ppid)].map(
		(process) => {
			try {
				return /^Max open files\s+(\d+)\s+(\d+)/m.exec(
					readFileSync(`/proc/${process}/limits`, "utf8"),
				);
			} catch {
				return undefined;
			}
		},
	);
	if (!ownLimits || !parentLimits || ownLimits[2] !== parentLimits[2])
		return undefined;
	return Number(parentLimits[1]) < Number(ownLimits[1])
		? parentLimits[1]
		: undefined;
}
