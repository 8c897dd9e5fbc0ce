/**
 * The hook calls of the benchmark: a payload as droid sends it, through a pipe; a store with a complete
 * index; and a running task for each call that completes one.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ProgramName } from "../../lib/install/droid-files.ts";
import { planInstall } from "../../lib/install/install.ts";
import { findOnPath, runtimeFlags } from "../../lib/process/executables.ts";
import { openStore as openDirectory } from "../../lib/store/directory.ts";
import { createTask } from "../../lib/store/records.ts";
import { createSessionId, createTaskId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import { timestamp } from "../../lib/task/states.ts";
import type { Call } from "./method.ts";
import { type Bench, readRecords } from "./setup.ts";
import { writeFinished } from "./tasks.ts";

const session = "0b1e5a52-6e0c-4c3b-9a52-0d8f3f3c2a11";

/** A hook at a tool call, with nothing due: about 400 bytes in, nothing out. */
export function idleHook(command: string[], env: Call["env"]): Call {
	const input = JSON.stringify({
		session_id: session,
		transcript_path: `/home/dev/.factory/sessions/-home-dev-project/${session}.jsonl`,
		cwd: "/home/dev/project",
		permission_mode: "auto-high",
		hook_event_name: "PostToolUse",
		tool_name: "Execute",
		tool_input: { command: "ls -la", timeout: 60, riskLevel: "low" },
		tool_response: "total 8\ndrwxr-xr-x 2 root root 4096 Nov 22 19:12 .\n",
	});
	return { argv: [...command, "hook"], env, input };
}

/** The same as `bg install` writes it and droid runs it: a shell command that starts bg only if needed. */
export function guardedHook(name: ProgramName, env: Call["env"]): Call {
	const { input = "" } = idleHook([], env);
	const target = { kind: "user", folder: `${env.HOME}/.factory` } as const;
	const program = { name, bytes: Buffer.alloc(0) };
	const plan = planInstall(target, program, () => undefined);
	const hooks = plan.find(({ edits }) => edits)?.next?.bytes.toString() ?? "";
	const [{ hooks: installed }] = JSON.parse(hooks).PostToolUse;
	return shellCall(installed[0].command, { env, input });
}

/** A shell command with a payload, its scalar fields in the environment, as droid runs it. */
export function shellCall(
	command: string,
	{ env, input }: { env: Call["env"]; input: string },
): Call {
	const fields = Object.entries(JSON.parse(input)).filter(
		(field): field is [string, string] => typeof field[1] === "string",
	);
	const argv = ["sh", "-c", command];
	return { argv, env: { ...env, ...Object.fromEntries(fields) }, input };
}

/** A hook that completes a task. Each call has a new task, which is deleted after it. */
export function endingHook(
	{ bg }: Bench,
	store: string,
	env: Call["env"],
): Call {
	let id = "";
	const prepare = async () => {
		id = createTaskId();
		const at = timestamp();
		createTask(
			{ dir: store },
			{
				schema: 1,
				id,
				kind: "command",
				description: "carry a task out",
				command: ["sleep", "60"],
				cwd: "/",
				session_id: session,
				parent_session_id: "parent",
				status: "running",
				queued_at: at,
				started_at: at,
			},
		);
	};
	const settle = async () => {
		const record = join(store, `${id}.json`);
		const { status }: Task = JSON.parse(await readFile(record, "utf8"));
		if (status !== "completed") throw new Error(`the task is ${status}`);
		for (const path of [record, join(store, ".sessions", session, id)])
			rmSync(path);
		rmSync(join(store, ".notices", "parent"), { recursive: true });
	};
	const input = JSON.stringify({
		session_id: session,
		transcript_path: `/home/dev/.factory/sessions/-home-dev-project/${session}.jsonl`,
		cwd: "/home/dev/project",
		permission_mode: "auto-high",
		hook_event_name: "SubagentStop",
		stop_hook_active: false,
		last_assistant_message: "It is done: the tests pass, nothing is left. ",
	});
	return { argv: [bg, "hook"], env, input, prepare, settle };
}

/** Writes finished tasks, each in a complete session index. */
export async function writeIndexed(
	bench: Bench,
	dir: string,
	count: number,
): Promise<void> {
	openDirectory({ dir, write: true });
	await writeFinished(bench, dir, count);
	for (const { id, session_id = createSessionId() } of readRecords(dir)) {
		const folder = join(dir, ".sessions", session_id);
		mkdirSync(folder, { recursive: true });
		writeFileSync(join(folder, id), "");
	}
}

/** A runtime as the script starts it, without the wrapper of npm, which would be timed as well. */
export function runtimeCommand(runtime: keyof typeof runtimeFlags): string[] {
	const file = runtime === "bun" ? process.execPath : findOnPath(runtime);
	if (!file) throw new Error(`no ${runtime} on PATH`);
	return [file, ...runtimeFlags[runtime]];
}
