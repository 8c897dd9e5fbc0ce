import { expect } from "bun:test";
import { playHandOver, type Role } from "../chaos/hand-over.ts";
import { concurrentTest } from "../tools/concurrent.ts";

/** Some of the steps; `npm run chaos:steps` plays all. */
const sample: [Role, number][] = [
	["ending", 9],
	["ending", 27],
	["ending", 34],
	["ending", 42],
	["ending", 44],
	["ending", 51],
	["woken", 8],
	["woken", 21],
	["woken", 32],
	["launcher", 7],
	["launcher", 13],
	["launcher", 18],
];

concurrentTest.each(sample)(
	"the next tasks start by themselves if the %s process of a hand-over is killed after its step %d",
	async (role, step) => {
		const places = step % 2 ? 2 : 1;
		const { problems, step: death } = await playHandOver(role, step, places);
		expect(problems).toEqual([]);
		expect(death).toBeDefined();
	},
);
