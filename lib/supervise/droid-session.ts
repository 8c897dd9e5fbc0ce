/** Records the session and the worktree of a droid as soon as its stream names them. */
import { setTimeout as delay } from "node:timers/promises";
import { readCurrentDigest } from "../droid/task-output.ts";
import {
	addWorktree,
	findWorktree,
	mayHaveWorktree,
} from "../droid/worktree/birth.ts";
import { errorMessage } from "../error.ts";
import { logFault } from "../store/directory.ts";
import { LockHeldError } from "../store/locks.ts";
import type { Store } from "../store/paths.ts";
import { updateTask } from "../store/records.ts";
import { markIfMessaged } from "../store/sessions/messages.ts";
import { indexSession } from "../store/sessions/session-index.ts";
import type { Task } from "../task/schema.ts";

/**
 * Reads a droid's stream until it names its session, and writes that into the record and the index. Then nothing
 * is committed yet in its worktree, whose creation is recorded as well.
 * @param signal ends the reading.
 */
export async function recordDroidSession(
	store: Store,
	task: Task,
	signal: AbortSignal,
): Promise<void> {
	if (task.kind !== "droid") return;
	for (let polls = 0; !signal.aborted; polls++) {
		try {
			const { sessionId } = readCurrentDigest(store, task);
			if (sessionId) {
				indexSession(store, sessionId, task.id);
				const worktree = mayHaveWorktree(task) ? findWorktree(store, task) : {};
				// Only tried: the next poll is soon, and the end has the session as well.
				updateTask(
					store,
					task.id,
					(now) => ({
						...addWorktree(now, worktree),
						droid_session_id: sessionId,
					}),
					{ timeoutMs: 0 },
				);
				markIfMessaged(store, task, sessionId);
				return;
			}
		} catch (error) {
			if (polls === 0 && !(error instanceof LockHeldError))
				logFault(store, "supervisor", `${task.id} ${errorMessage(error)}`);
		}
		await delay(polls < 100 ? 100 : 1000, undefined, { signal }).catch(
			() => {},
		);
	}
}
