/*
 * The dialog that lists the public rooms, so that a person need not know a name to join: by name, searched and paged by
 * the server.
 * Its rule: the answer of the latest search is shown, whatever order the answers come in.
 */

import { $, element, KeyedList } from "./dom.js";
import { isolated } from "./names.js";

const PAUSE_MS = 300; // after the last key, before the server is asked
const MOST_EMPTY = 5; // pages without a match that are followed by themselves: a search goes through many rooms in parts

export class RoomDirectory {
  #dialog = $("directory-dialog");
  #list;
  #find;
  #isMember;
  #found = new Map(); // roomId -> room
  #next = null; // the room after which there are more
  #search = 0; // counts the searches
  #timer = null;

  /** `actions`: {find({query, after}) -> the ack of `room:directory`, isMember(roomId), open(roomId), join(roomId)}. */
  constructor({ find, isMember, open, join }) {
    const enter = (row) => {
      this.#dialog.close();
      return row.member ? open(row.roomId) : join(row.roomId);
    };
    this.#find = find;
    this.#isMember = isMember;
    this.#list = new KeyedList($("directory-list"), (row) => roomElement(row, enter));
    $("browse").addEventListener("click", () => this.#open());
    $("directory-close").addEventListener("click", () => this.#dialog.close());
    $("directory-more").addEventListener("click", () => this.#showMore());
    $("directory-query").addEventListener("input", () => this.#searchSoon(PAUSE_MS));
    $("directory-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#searchSoon(0);
    });
    this.#dialog.addEventListener("close", () => this.#stop());
  }

  #open() {
    $("directory-query").value = "";
    this.#dialog.showModal();
    $(matchMedia("(hover: hover)").matches ? "directory-query" : "directory-title").focus();
    this.#searchSoon(0);
  }

  /** An answer that is still on its way is not shown. */
  #stop() {
    clearTimeout(this.#timer);
    this.#search++;
  }

  #searchSoon(wait) {
    this.#stop();
    this.#timer = setTimeout(() => {
      this.#found = new Map();
      this.#load(null);
    }, wait);
  }

  async #showMore() {
    const before = this.#found.size;
    await this.#load(this.#next);
    $("directory-list").children[before]?.querySelector("button").focus(); // the button that was pressed may be hidden now
  }

  async #load(after) {
    const search = ++this.#search;
    $("directory-status").textContent = "Loading…";
    try {
      const page = await this.#pageAfter(after, search);
      if (search !== this.#search) return;
      for (const room of page.rooms) this.#found.set(room.roomId, room);
      this.#show(page.hasMore ? page.next : null);
    } catch (error) {
      if (search === this.#search) $("directory-status").textContent = error.message;
    }
  }

  /** The first page with a room in it, or one after which a person is asked whether to search on. */
  async #pageAfter(after, search) {
    const query = $("directory-query").value.trim();
    let page;
    for (let tries = 0; tries < MOST_EMPTY && search === this.#search; tries++) {
      page = await this.#find({ query, after: page?.next ?? after ?? undefined });
      if (page.rooms.length || !page.hasMore) break;
    }
    return page;
  }

  #show(next) {
    this.#next = next;
    const rows = [...this.#found.values()].map((room) => ({ ...room, key: room.roomId, member: this.#isMember(room.roomId) }));
    this.#list.render(rows);
    $("directory-more").hidden = next === null;
    $("directory-status").textContent = statusOf(rows.length, next !== null);
  }
}

function statusOf(count, hasMore) {
  if (!count) return hasMore ? "No room found yet." : "No public room has this in its name.";
  return `${count}${hasMore ? "+" : ""} ${count === 1 && !hasMore ? "room" : "rooms"}`;
}

function roomElement(row, enter) {
  const { name, topic, members, member } = row;
  const button = element("button", { type: "button", onclick: () => enter(row) }, member ? "Open" : "Join");
  button.setAttribute("aria-label", `${member ? "Open" : "Join"} ${isolated(name)}`);
  const item = element(
    "li",
    {},
    element(
      "div",
      { className: "about-room" },
      element("bdi", { className: "name" }, name),
      element("span", { className: "hint" }, `${members} ${members === 1 ? "member" : "members"}`),
      topic ? element("p", { className: "topic", dir: "auto" }, topic) : null,
    ),
    button,
  );
  item.dataset.roomId = row.roomId;
  return item;
}
