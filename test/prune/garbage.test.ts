import { expect, test } from "bun:test";
import { existsSync, rmSync, utimesSync } from "node:fs";
import { join } from "node:path";
import {
	createPendingLaunch,
	endPendingLaunch,
	listSubmitted,
	noteSubmitted,
	readJobNumber,
	readSubmission,
} from "../../lib/engine/submissions.ts";
import { identifySelf } from "../../lib/process/identity.ts";
import { sweepStore } from "../../lib/prune/garbage.ts";
import { withPendingLaunch } from "../../lib/store/claims.ts";
import { openStore } from "../../lib/store/directory.ts";
import { markNoticeDue } from "../../lib/store/ends.ts";
import { listInputs, prepareInput } from "../../lib/store/input.ts";
import { expectNotice, listUnseen } from "../../lib/store/sessions/notices.ts";
import {
	indexSession,
	listSessionTasks,
	writeSessionNote,
} from "../../lib/store/sessions/session-index.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import { sandbox } from "../tools/harness.ts";
import {
	addEnd,
	addTask,
	child,
	other,
	parent,
	readNotices,
	send,
	toolUse,
} from "../tools/hooks.ts";

test("files of a task that will get no record are swept, those of a pending launch stay", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const recorded = addTask(store, { parent_session_id: parent });
	indexSession(store, parent, recorded);
	const [coming, never] = [createTaskId(), createTaskId()];
	for (const id of [coming, never]) {
		indexSession(store, parent, id);
		expectNotice(store, parent, id);
	}
	withPendingLaunch(store, [coming], () => sweepStore(store));
	const ids = [recorded, coming].sort();
	expect(listSessionTasks(store, parent).sort()).toEqual(ids);
	expect(readNotices(store, parent)).toEqual({ due: [], awaited: ids });
	markNoticeDue(store, parent, coming);
	sweepStore(store);
	expect(readNotices(store, parent)).toEqual({ due: [], awaited: [recorded] });
});

test("files of a session without tasks for a week are swept, others stay", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const folder = (key: string) => join(store.dir, ".sessions", key);
	for (const key of ["old", "new", "busy"])
		writeSessionNote(store, key, "caller", parent);
	indexSession(store, "busy", addTask(store, {}));
	const longAgo = Date.now() / 1000 - 8 * 86_400;
	for (const key of ["old", "busy"]) utimesSync(folder(key), longAgo, longAgo);
	sweepStore(store);
	expect(["old", "new", "busy"].map((key) => existsSync(folder(key)))).toEqual([
		false,
		true,
		true,
	]);
});

test("ends that no answer showed are forgotten after a week, or with their task", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const longAgo = Date.now() / 1000 - 8 * 86_400;
	const told = async (session: string) => {
		const id = addEnd(box, session);
		await send(box, toolUse(session));
		expect(listUnseen(store, session)).toEqual([id]);
		return id;
	};
	const id = await told(parent);
	const gone = await told(child);
	await told(other);
	rmSync(join(store.dir, `${gone}.json`));
	utimesSync(join(store.dir, ".unseen", other), longAgo, longAgo);
	sweepStore(store);
	const left = [parent, child, other].map((key) => listUnseen(store, key));
	expect(left).toEqual([[id], [], []]);
});

test("the input of a task that has ended is swept, that of a living process stays", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const self = identifySelf();
	const tasks = {
		ended: addTask(store, { status: "completed" }),
		unwatched: addTask(store, { status: "completed", process: self }),
		running: addTask(store, { status: "running", process: self }),
		missing: createTaskId(),
	};
	for (const id of Object.values(tasks))
		Bun.spawnSync(["mkfifo", ...prepareInput(store, id)]);
	sweepStore(store);
	const left = [tasks.unwatched, tasks.running];
	expect(listInputs(store).sort()).toEqual(left.sort());
});

test("the files of a submission go once all of its tasks have ended", () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const [ended, running] = [addEnd(box, parent), addTask(box, {})];
	const [over, mixed, pending] = [[ended], [ended, running], [ended]];
	const open = createPendingLaunch(store, [
		{ launch: createTaskId(), ids: pending },
	]);
	const [left = ""] = open.launches;
	for (const ids of [over, mixed]) {
		const launch = ids.at(-1) ?? "";
		const own = createPendingLaunch(store, [{ launch, ids }]);
		noteSubmitted(store, own, { launch, job: "30" });
		endPendingLaunch(own);
	}
	sweepStore(store);
	expect(listSubmitted(store)).toEqual(new Set([running]));
	expect(readJobNumber(store, ended)).toBeUndefined();
	expect(readSubmission(store, left)).toEqual(pending);
});
