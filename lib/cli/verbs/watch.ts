import { followEngine } from "../../engine/engine.ts";
import { exitCodes, usage } from "../../error.ts";
import { isColourWanted } from "../../print/status.ts";
import {
	catchEndSignals,
	endBySignal,
	openScreen,
	readTerminalSize,
} from "../../print/terminal.ts";
import { isDumbTerminal, isTerminal } from "../../print/text.ts";
import { openStore } from "../../store/directory.ts";
import { watchEnds } from "../../store/ends.ts";
import type { Store } from "../../store/paths.ts";
import { resolveTaskId } from "../../store/records.ts";
import type { Task } from "../../task/schema.ts";
import { splitValues } from "../arguments.ts";
import {
	createMatcher,
	parseSelectors,
	refuseBoth,
	type SelectorArguments,
	selectorFlags,
} from "../selectors.ts";
import { defineVerb, flag, optional } from "../verb.ts";
import { render } from "../watch/draw/render.ts";
import { KeyReader } from "../watch/input.ts";
import { ChangesReader } from "../watch/read/changes.ts";
import { OutputReader } from "../watch/read/output.ts";
import { TaskReader } from "../watch/read/tasks.ts";
import { type Answer, showVerb, VerbRunner } from "../watch/run-verb.ts";
import {
	type Effect,
	emptyState,
	findSelected,
	layOut,
	type WatchState,
} from "../watch/state.ts";
import {
	endAction,
	resize,
	showData,
	showOutput,
	update,
} from "../watch/update.ts";

/** How often the tasks, and the output that is shown, are polled. */
const pollIntervalMs = 1000;
const outputPollIntervalMs = 200;

/** The least time between two polls that ends of tasks cause, in ms. */
const minPollMs = 250;

export default defineVerb({
	name: "watch",
	description: "Show tasks live, with keys to select, follow and control them",
	group: "inspect",
	examples: {
		"bg watch": "running tasks first; ? lists the keys, q quits",
		"bg watch --tag nightly": "only tasks with that tag",
		"NO_COLOR=1 bg watch": "the same without colours",
	},
	args: {
		ids: optional("task ids", { multiple: true, from: "tasks" }),
		...selectorFlags,
		all: flag("all tasks, also those that bg cleanup took off the list"),
	},
	run: async ({ args, data: verbs }) => {
		assertTerminal();
		const store = openStore();
		const tasks = new TaskReader(store, selectTasks(store, args));
		const outputs = new OutputReader(store);
		const changes = new ChangesReader(store, () => guard(() => {}));
		const keys = new KeyReader();
		const runner = new VerbRunner();
		const colour = isColourWanted();
		let state = emptyState(readTerminalSize(), Object.keys(verbs));

		const readTasks = () => {
			const data = tasks.poll();
			if (data) state = showData(state, data);
		};
		const readOutput = () => {
			if (!layOut(state).pane) return;
			const output = outputs.read(state.selected, state.anchor !== undefined);
			state = showOutput(state, output);
			const known = changes.read(findSelected(state));
			if (known !== state.changes) state = { ...state, changes: known };
		};
		let end = (_result: number | NodeJS.Signals) => {};
		let fail = (_fault: unknown) => {};
		const ended = new Promise<number | NodeJS.Signals>((resolve, reject) => {
			end = resolve;
			fail = reject;
		});
		let drawn: WatchState | undefined;
		/** Does something, reads the output that is then selected, and draws what changed. A fault ends the command. */
		const guard = (action: () => void) => {
			try {
				action();
				readOutput();
				if (state === drawn) return;
				drawn = state;
				screen.draw(render(state, { now: Date.now(), colour }));
			} catch (fault) {
				fail(fault);
			}
		};
		const act = (effect: Effect) => {
			switch (effect.do) {
				case "quit":
					return end(exitCodes.ok);
				case "suspend":
					return screen.suspend();
				case "redraw":
					return screen.redraw();
				case "show":
					screen.lend(() => showVerb(effect.call)).catch(fail);
					return;
				case "run": {
					const { key, call } = effect;
					const finish = (answer: Answer) =>
						guard(() => {
							state = endAction(state, { key, ...answer }, Date.now());
							readTasks();
						});
					runner.run(key, call).then(finish).catch(fail);
				}
			}
		};
		const type = (bytes: Uint8Array) => {
			for (const typed of keys.read(bytes)) {
				const step = update(state, typed, Date.now());
				state = step.state;
				if (step.effect) act(step.effect);
			}
		};

		const interrupt = catchEndSignals(() => screen.isLent());
		const screen = openScreen({
			onInput: (bytes) => guard(() => type(bytes)),
			onChange: () =>
				guard(() => {
					state = resize(state, readTerminalSize());
				}),
			onEnd: () => end("SIGHUP"),
		});
		const poll = limitRate(
			() =>
				guard(() => {
					readTasks();
					// Ages have changed.
					drawn = undefined;
				}),
			minPollMs,
		);
		const unfollow = followEngine(store, () => {
			tasks.noteAnswer();
			poll.call();
		});
		const disarm = watchEnds(store, poll.call);
		const timers = [
			setInterval(poll.call, pollIntervalMs),
			setInterval(
				() => layOut(state).pane && guard(() => {}),
				outputPollIntervalMs,
			),
		];
		try {
			guard(readTasks);
			const first = await Promise.race([ended, interrupt.signal]);
			screen.close();
			return typeof first === "number" ? first : endBySignal(interrupt, first);
		} finally {
			screen.close();
			interrupt.ignore();
			disarm();
			unfollow();
			poll.stop();
			for (const timer of timers) clearInterval(timer);
		}
	},
});

// --- internal ---

/** Whether a task is among those that a call names; without ids and selectors, it is. */
function selectTasks(
	store: Store,
	args: SelectorArguments & { ids?: string | undefined },
): (task: Task) => boolean {
	refuseBoth("watch", args);
	const given = splitValues(args.ids).map((id) => resolveTaskId(store, id));
	const ids = new Set(given);
	if (ids.size) return ({ id }) => ids.has(id);
	return createMatcher(store, parseSelectors(args));
}

function assertTerminal(): void {
	const instead = "(bg list, bg wait and bg output --follow do not)";
	if (!isTerminal(0) || !isTerminal(1))
		throw usage(`bg watch needs a terminal ${instead}`);
	if (isDumbTerminal())
		throw usage(
			`bg watch needs a terminal that can move its cursor, and TERM is ${process.env.TERM || "not set"} ${instead}`,
		);
}

/** Limits how often something is called: at once, then at most once in `ms`. */
function limitRate(action: () => void, ms: number) {
	let timer: ReturnType<typeof setTimeout> | undefined;
	let isAsked = false;
	const call = () => {
		if (timer) {
			isAsked = true;
			return;
		}
		timer = setTimeout(() => {
			timer = undefined;
			if (!isAsked) return;
			isAsked = false;
			call();
		}, ms);
		action();
	};
	return { call, stop: () => clearTimeout(timer) };
}
