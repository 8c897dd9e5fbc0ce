import { expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readdirSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { claimName, identifySelf } from "../../lib/process/identity.ts";
import { sweepStore } from "../../lib/prune/garbage.ts";
import { createOnEndMark } from "../../lib/spawn/command.ts";
import { readLimits } from "../../lib/spawn/limits.ts";
import { enqueue } from "../../lib/spawn/queue.ts";
import {
	isLaunchPending,
	readKeyHolder,
	withPendingLaunch,
	writeKeyHolder,
} from "../../lib/store/claims.ts";
import { openStore } from "../../lib/store/directory.ts";
import { writePrivateFile } from "../../lib/store/files.ts";
import { onEndMark, promptFile, type Store } from "../../lib/store/paths.ts";
import { createTask } from "../../lib/store/records.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import { parseTask } from "../../lib/task/parse.ts";
import { type Answer, sandbox } from "../tools/harness.ts";

const open = (): Store => openStore({ dir: sandbox().dir, write: true });

/** Plays a scenario, again if a launch in it gave up waiting for another after 5 s: the machine was too slow. */
async function unlessGivenUp(
	play: () => Promise<{ answer: Answer; id: string }>,
) {
	for (let tries = 1; ; tries++) {
		const played = await play();
		if (tries === 4 || !isGivenUp(played.answer)) return played;
	}
}

const isGivenUp = ({ error }: Answer) => error.includes("is being launched by");

const hour = 3_600_000;

/** An id as the clock of `at` would give it, in ms. */
const idOf = (at: number) => `bg_${at.toString(16)}000000`;

/** Everything that a launch writes before its record. */
function begin(store: Store, id: string): void {
	enqueue(
		store,
		[parseTask(JSON.stringify({ id, status: "queued" }))],
		readLimits({}),
	);
	writePrivateFile(promptFile(store, id), "words");
	createOnEndMark(store, id);
	writeKeyHolder(store, "key", id);
}

const leftOf = (store: Store, id: string) => [
	readdirSync(join(store.dir, ".queue")).some((name) => name.includes(id)),
	existsSync(promptFile(store, id)),
	existsSync(onEndMark(store, id)),
	readKeyHolder(store, "key") === id,
];

test.each([
	["an hour ago", -hour],
	["in an hour, for the clock was set back", hour],
])(
	"what is launched by a clock of %s is swept once its launcher is gone, and not before",
	(_, shift) => {
		const store = open();
		const id = idOf(Date.now() + shift);
		withPendingLaunch(store, [createTaskId(), id], () => {
			begin(store, id);
			sweepStore(store);
			expect(leftOf(store, id)).toEqual([true, true, true, true]);
		});
		sweepStore(store);
		expect(leftOf(store, id)).toEqual([false, false, false, false]);
	},
);

test("the claim of a dead launcher counts for nothing and is removed", () => {
	const store = open();
	const id = createTaskId();
	const dead = claimName({ ...identifySelf(), start: "0" }, "0");
	writeFileSync(join(store.dir, ".launches", dead), id);
	expect(isLaunchPending(store, id)).toBe(false);
	sweepStore(store);
	expect(readdirSync(join(store.dir, ".launches"))).toEqual([]);
});

test("a failed launch leaves no claim", () => {
	const store = open();
	const fail = () =>
		withPendingLaunch(store, [createTaskId()], () => {
			throw new Error("disk full");
		});
	expect(fail).toThrow("disk full");
	expect(readdirSync(join(store.dir, ".launches"))).toEqual([]);
});

test("a launch is complete even if its claim cannot be removed", () => {
	const store = open();
	const launches = join(store.dir, ".launches");
	const launch = () =>
		withPendingLaunch(store, [createTaskId()], () => {
			const [claim = ""] = readdirSync(launches);
			rmSync(join(launches, claim));
			mkdirSync(join(launches, claim));
			return "launched";
		});
	expect(launch()).toBe("launched");
	expect(readdirSync(launches)).toHaveLength(1);
});

test("a launch waits for a key of a pending launch, and not for other keys", async () => {
	const { answer, id } = await unlessGivenUp(async () => {
		const box = sandbox();
		const store = openStore({ dir: box.dir, write: true });
		const id = createTaskId();
		const claim = join(box.dir, ".launches", claimName(identifySelf(), "0"));
		writePrivateFile(claim, id);
		writeKeyHolder(store, "key", id);
		const launch = (key: string) =>
			box.bg(["run", "--unique", key, "d", "--", "true"]);
		const same = launch("key");
		expect((await launch("other")).json().existing).toBeUndefined();
		createTask(store, {
			...parseTask(JSON.stringify({ id, status: "running" })),
			unique_key: "key",
			supervisor: identifySelf(),
		});
		return { answer: await same, id };
	});
	expect(answer.json()).toMatchObject({ taskId: id, existing: true });
});

test("a pending launch that never ends is named with a hint", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const id = createTaskId();
	const stuck = { ...identifySelf(), machine: "a container" };
	const claim = join(box.dir, ".launches", claimName(stuck, "0"));
	writePrivateFile(claim, id);
	writeKeyHolder(store, "key", id);
	const words = ["run", "--unique", "key", "d", "--", "true"];
	const { code, error } = await box.bg(words);
	expect(code).toBe(111);
	expect(error).toContain(`process ${process.pid} on a container`);
	expect(error).toContain(`rm -r ${claim}`);
});

test.each([
	["gone", { ...identifySelf(), start: "0" }],
	["alive", identifySelf()],
])(
	"a key belongs to a task of a batch whose launcher is %s only once its last record exists",
	async (_, launcher) => {
		const { answer, id } = await unlessGivenUp(async () => {
			const box = sandbox();
			const store = openStore({ dir: box.dir, write: true });
			const [id, last] = [createTaskId(), createTaskId()];
			const claim = join(box.dir, ".launches", claimName(launcher, "0"));
			writePrivateFile(claim, `${id}\n${last}`);
			const record = (of: string) =>
				createTask(store, {
					...parseTask(JSON.stringify({ id: of, status: "running" })),
					supervisor: identifySelf(),
				});
			const launch = (key = "key") =>
				box.bg(["run", "--unique", key, "d", "--", "true"]);
			writeKeyHolder(store, "key", id);
			record(id);
			const isGone = launcher.start === "0";
			let early: Answer | undefined;
			const first = launch().then((answer) => {
				early = answer;
				return answer;
			});
			// The one finds that the launch was given up, the other waits for it.
			if (isGone) expect((await first).json().existing).toBeUndefined();
			else await Promise.all(["other", "third"].map(launch));
			if (early && isGivenUp(early)) return { answer: early, id };
			expect(early !== undefined).toBe(isGone);
			record(last);
			if (isGone) writeKeyHolder(store, "key", id);
			return { answer: await (isGone ? launch() : first), id };
		});
		expect(answer.json()).toMatchObject({ taskId: id, existing: true });
	},
);
