import { expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../lib/store/directory.ts";
import { readTask, updateTask } from "../../lib/store/records.ts";
import { addMessage } from "../../lib/store/sessions/messages.ts";
import { markSessionDue } from "../../lib/store/sessions/notices.ts";
import { finishTask, timestamp } from "../../lib/task/states.ts";
import { isAlive, type Sandbox, sandbox, until } from "../tools/harness.ts";
import { addEnd, child, lock, other, parent } from "../tools/hooks.ts";
import { addDroid } from "../tools/messages.ts";

test("a locked task is left alone and named, the others are archived", async () => {
	const box = sandbox();
	const [first, held, last] = [1, 2, 3].map(() => addEnd(box, parent));
	const unlock = lock(box, held ?? "");
	const answer = await box.bg(["cleanup"]);
	const deletion = await box.bg(["cleanup", "--delete", "--older-than", "0s"]);
	unlock();
	const kept = [
		{
			id: held,
			taskId: held,
			note: expect.stringMatching(/^unable to lock .*held by /),
		},
	];
	expect(answer.json()).toMatchObject({ archived: [last, first], kept });
	expect(answer).toMatchObject({ code: 111 });
	expect(answer.stderr).toBe("");
	expect(deletion.json()).toMatchObject({ deleted: [last, first], kept });
	const store = openStore({ dir: box.dir });
	expect(readTask(store, held ?? "").archived_at).toBeUndefined();
});

test("with --session only the tasks of that session are archived or deleted", async () => {
	const box = sandbox();
	const [own, theirs] = [addEnd(box, parent), addEnd(box, other)];
	const flags = ["--session", parent];
	const cleaned = await box.bg(["cleanup", ...flags]);
	expect(cleaned.json()).toMatchObject({ archived: [own], kept: [] });
	const deleted = await box.bg([...deletion, ...flags]);
	expect(deleted.json()).toMatchObject({ deleted: [own], archived: [] });
	expect(box.record(theirs).archived_at).toBeUndefined();
	// An empty variable must not mean all sessions.
	expect((await box.bg(["cleanup", "--session", ""])).code).toBe(2);
	expect(box.record(theirs).archived_at).toBeUndefined();
});

/** A task that is cancelled before it starts while its supervisor is stopped. */
async function cancelQueued(box: Sandbox) {
	const ended = join(box.home, "ended");
	const onEnd = `touch ${ended}`;
	const first = await box.run(["sleep", "600"]);
	const run = ["run", "-q", "--after", first, "--on-end", onEnd, "d", "--"];
	const id = (await box.bg([...run, "true"])).stdout.trim();
	const pid = box.record(id).supervisor?.pid ?? 0;
	process.kill(pid, "SIGSTOP");
	await box.bg(["cancel", id]);
	expect(box.record(id).status).toBe("cancelled");
	return { first, id, pid, ended };
}

const deletion = ["cleanup", "--delete", "--older-than", "0s"];

test("a task is not deleted before its supervisor has run its --on-end", async () => {
	const box = sandbox();
	const { first, id, pid, ended } = await cancelQueued(box);
	const kept = [
		{ id, taskId: id, note: `${id} is kept: its --on-end has not run yet` },
	];
	for (const flags of [["--dry-run"], []]) {
		const answer = await box.bg([...deletion, ...flags]);
		expect(answer).toMatchObject({ code: 111 });
		expect(answer.json().kept).toEqual(kept);
	}
	expect(existsSync(ended)).toBe(false);
	process.kill(pid, "SIGCONT");
	await until(() => existsSync(ended), "its --on-end");
	expect((await box.bg(deletion)).json()).toMatchObject({
		deleted: [id],
		kept: [],
	});
	await box.bg(["cancel", first]);
});

test("the --on-end of a task without a supervisor is run before the task is deleted", async () => {
	const box = sandbox();
	const { first, id, pid, ended } = await cancelQueued(box);
	process.kill(pid, "SIGKILL");
	await until(() => !isAlive(pid), "its supervisor gone");
	expect((await box.bg(deletion)).json().deleted).toContain(id);
	await until(() => existsSync(ended), "its --on-end");
	expect(existsSync(join(box.dir, `${id}.json`))).toBe(false);
	await box.bg(["cancel", first]);
});

test("a deleted droid leaves no mark of messages that its dead supervisor left", async () => {
	const box = sandbox();
	const id = addDroid(box);
	addMessage(box, id, "msg", { from: { by: "person" }, text: "words" });
	markSessionDue(box, child);
	updateTask(box, id, (task) =>
		finishTask(task, { reason: "lost", at: timestamp() }),
	);
	await Bun.sleep(2);
	expect((await box.bg(deletion)).json()).toMatchObject({ deleted: [id] });
	expect(readdirSync(join(box.dir, ".due"))).not.toContain(child);
});

test("a task whose supervisor is about to record its exit is kept until then", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "600"]);
	const { pid = 0, supervisor } = await box.untilTask(
		id,
		(task) => task.process && task,
		"its process",
	);
	await until(() => {
		process.kill(supervisor?.pid ?? 0, "SIGSTOP");
		if (!existsSync(join(box.dir, ".locks", id))) return true;
		process.kill(supervisor?.pid ?? 0, "SIGCONT");
		return false;
	}, "a moment in which it holds no lock");
	await box.bg(["complete", id, "early"]);
	process.kill(pid, "SIGKILL");
	const anHourAgo = new Date(Date.now() - 3_600_000).toISOString();
	updateTask(box, id, (task) => ({ ...task, completed_at: anHourAgo }));
	const kept = await box.bg(deletion);
	expect(kept).toMatchObject({ code: 111 });
	expect(kept.json().kept).toMatchObject([
		{ id, note: expect.stringContaining("is about to record its exit") },
	]);
	process.kill(supervisor?.pid ?? 0, "SIGCONT");
	await until(() => box.alive().length === 0, "the end of its supervisor");
	expect((await box.bg(deletion)).json()).toMatchObject({ deleted: [id] });
	expect((await box.bg(["list", "--all"])).json().total).toBe(0);
});
