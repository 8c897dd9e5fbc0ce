/**
 * Starts detached supervisors. A supervisor runs in `/`, so configuration files of the current folder have
 * no effect on it.
 */
import { openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { errorMessage, refused } from "../error.ts";
import { buildSelfCommand, findOnPath } from "../process/executables.ts";
import { identifyProcess, ownJob } from "../process/identity.ts";
import {
	type Command,
	type Descriptors,
	startDetached,
} from "../process/runtime.ts";
import { uniqueHolderName } from "../store/files.ts";
import type { Store } from "../store/paths.ts";
import type { Identity } from "../task/schema.ts";
import { supervisorVariable, taskVariable } from "../task/variables.ts";
import {
	quietVariables,
	runtimeVariables,
	taskEnvVariable,
} from "./environment.ts";
import { createParkedMark, parkCommand, removeParkedMarks } from "./parked.ts";

export type SupervisorOptions = {
	store: Store;
	ids: readonly string[];
	/** `--env` by task id. */
	env?: Record<string, Record<string, string>>;
	/** Whether to watch the process of a task whose supervisor is gone. */
	adopt?: boolean;
	/**
	 * It waits as a parked shell first, if that is possible. For one task only. The name of the pending
	 * launch's claim.
	 */
	park?: string | undefined;
};

/**
 * Starts a supervisor that outlives its launcher: in a session of its own, with none of the launcher's
 * descriptors, and with its environment, umask, limits and cgroup.
 * @throws BgError (refused) if the system has no process or descriptor left.
 */
export function startSupervisor(options: SupervisorOptions): Identity {
	const { store, ids, park } = options;
	const [id = ""] = ids;
	const command = buildSupervisorCommand(options);
	const parked = park ? parkCommand(store, id, command, park) : undefined;
	try {
		if (parked) createParkedMark(store, id);
		return startAndIdentify(parked ?? command);
	} catch (error) {
		if (parked) removeParkedMarks(store, id);
		throw refused(
			`unable to start a supervisor: ${errorMessage(error)} (nothing was launched)`,
		);
	}
}

/** The environment of a supervisor of some tasks: that of its launcher, and what tells it of its launch. */
export function buildSupervisorEnvironment(
	store: Store,
	tasks: number,
): NodeJS.ProcessEnv {
	const environment: NodeJS.ProcessEnv = {
		...quietVariables,
		...runtimeVariables(tasks),
		...process.env,
		BG_DIR: store.dir,
		[supervisorVariable]: uniqueHolderName(),
	};
	delete environment[taskVariable];
	return environment;
}

/** The flags that give a supervisor its launcher's limit of open files. */
export function buildLimitFlags(): string[] {
	const limit = readParentFileLimit();
	return limit ? [`--open-files=${limit}`] : [];
}

/**
 * Restores the soft limit of open files, which Bun, Deno and Node raise at their start: a task gets its
 * launcher's limit.
 * @param limit a number of files.
 */
export function lowerFileLimit(limit: string): void {
	const prlimit = findOnPath("prlimit");
	if (!prlimit || !/^\d+$/.test(limit)) return;
	const { spawnSync } = process.getBuiltinModule("node:child_process");
	spawnSync(prlimit, ["--pid", String(process.pid), `--nofile=${limit}:`]);
}

// --- internal ---

function buildSupervisorCommand({
	store,
	ids,
	env = {},
	adopt = false,
}: SupervisorOptions): Command {
	const [program, ...args] = buildSelfCommand();
	const flags = adopt ? ["--adopt"] : buildLimitFlags();
	return {
		program,
		args: [...args, "supervise", ...flags, ...ids],
		env: {
			...buildSupervisorEnvironment(store, ids.length),
			[taskEnvVariable]: JSON.stringify(env),
		},
	};
}

/** @throws Error if that fails. */
function startAndIdentify(command: Command): Identity {
	const pid = startDetached(command, openNullDevices());
	const identity = identifyProcess(pid);
	if (!identity) throw new Error(`${command.program} ended at once`);
	return { ...identity, ...ownJob };
}

/**
 * The descriptors of a supervisor: /dev/null for every descriptor of its launcher that exec does not
 * close. Deno passes all of them on, Node those past 16; neither can close a descriptor that it did not
 * open, but both can replace it. See proc(5), fdinfo.
 */
function openNullDevices(): Descriptors {
	const stdio: Descriptors = ["ignore", "ignore", "ignore"];
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
		// The descriptor that listed the folder is closed by now.
		return false;
	}
}

/**
 * The parent's soft limit of open files, if it is lower than that of this process and the hard limits are
 * equal: then this runtime has raised its own.
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
