/**
 * Requests to stop a task whose record cannot be written. A request is an empty file whose name says
 * everything, so it needs no free space; the task's supervisor reads it and records it later.
 */
import { rmSync } from "node:fs";
import * as v from "valibot";
import { Stop } from "../task/schema.ts";
import { timestamp } from "../task/states.ts";
import { createIn, listNames } from "./files.ts";
import { folderPath, type Store } from "./paths.ts";

/** Leaves a request for a task's supervisor. */
export function postStop(store: Store, id: string, stop: Stop): void {
	const { reason, signal = "", by } = stop;
	const name = [reason, signal, by].map(encodeURIComponent).join(",");
	createIn(store, folderPath(store, "stops"), `${id}.${name}`);
}

/** The request that was left for a task, if there is one. */
export function findStop(store: Store, id: string): Stop | undefined {
	for (const name of listNames(store, folderPath(store, "stops"))) {
		if (!name.startsWith(`${id}.`)) continue;
		const [reason, signal, by] = name
			.slice(id.length + 1)
			.split(",")
			.map(decodeURIComponent);
		const request = v.safeParse(Stop, {
			reason,
			at: timestamp(),
			by,
			...(signal && { signal }),
		});
		if (request.success) return request.output;
	}
	return undefined;
}

/** Removes the requests for a task that has ended. */
export function removeStops(store: Store, id: string): void {
	const folder = folderPath(store, "stops");
	for (const name of listNames(store, folder))
		if (name.startsWith(`${id}.`)) rmSync(`${folder}/${name}`, { force: true });
}
