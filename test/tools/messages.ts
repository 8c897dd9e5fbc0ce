/** Droids that can be sent to: running tasks without a process, in a home with hooks of bg. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { indexSession } from "../../lib/store/sessions/session-index.ts";
import type { Task } from "../../lib/task/schema.ts";
import type { Sandbox } from "./harness.ts";
import { addTask, child, parent } from "./hooks.ts";

/** Adds the hooks of bg as `bg install` writes them for the user. */
export function addHooks(box: Sandbox): void {
	const path = join(box.home, ".factory", "hooks.json");
	mkdirSync(dirname(path));
	const command = `"${box.home}/.factory/hooks/bg" hook`;
	const entry = [{ hooks: [{ type: "command", command, timeout: 5 }] }];
	writeFileSync(path, JSON.stringify({ PostToolUse: entry, Stop: entry }));
}

/** Adds a running droid's task without a process, in a home with hooks. */
export function addDroid(box: Sandbox, fields: Partial<Task> = {}): string {
	if (!existsSync(join(box.home, ".factory"))) addHooks(box);
	const id = addTask(box, {
		kind: "droid",
		droid_session_id: child,
		parent_session_id: parent,
		cwd: box.home,
		...fields,
	});
	const { droid_session_id } = box.record(id);
	// As its SessionStart hook and its supervisor do.
	if (droid_session_id) indexSession(box, droid_session_id, id);
	return id;
}
