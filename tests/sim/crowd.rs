//! The clients of a run: who connects, joins, publishes, reads slowly, misbehaves and comes back, as chance says.
//! Moves bytes between members and the simulated network; judges only what one connection can see.

use highper_shards::driver::sim::{Client, Random, Rate, World};

use crate::checker::Checker;
use crate::member::{LATEST, Member, name};
use crate::plan::{Keeps, Plan};
use crate::run::PORT;
use crate::session::Kit;

/// What the server may close with: our own code, silence, a panicking handler, a restart, no room in a lane at
/// the start, a slow reader.
pub const CLOSE_CODES: [u16; 6] = [1000, 1001, 1011, 1012, 1013, 3008];

/// Everybody who talks to the server.
pub struct Crowd {
    pub checker: Checker,
    /// What single connections found wrong.
    pub problems: Vec<String>,
    /// How often the server closed with each of [`CLOSE_CODES`].
    pub closes: [u64; CLOSE_CODES.len()],
    /// Handshakes that took too long.
    pub timeouts: u64,
    /// Handshakes without an answer because the server stops.
    pub refused: u64,
    /// Whether the server was told to stop.
    pub is_draining: bool,
    seats: Vec<Seat>,
    /// The seat of each connection that was ever made.
    owners: Vec<u32>,
    random: Random,
    kit: Kit,
    bytes: Vec<u8>,
    rooms: u32,
    publishers: u32,
}

/// A client: its connection, if it has one.
struct Seat {
    client: Option<Client>,
    member: Member,
    /// It reads nothing for a while.
    paused: bool,
    /// It ended the connection, or its direction of it, and waits for the server's end.
    leaving: bool,
}

impl Crowd {
    pub fn new(plan: &Plan) -> Self {
        let mut checker = Checker::new(plan.seed);
        checker.conflates = |room| name(room).starts_with(LATEST);
        checker.keeps_all = plan.history == Keeps::Everything;
        Self {
            checker,
            problems: Vec::new(),
            closes: [0; CLOSE_CODES.len()],
            timeouts: 0,
            refused: 0,
            is_draining: false,
            seats: Vec::new(),
            owners: Vec::new(),
            random: Random::new(!plan.seed),
            kit: Kit::new(),
            bytes: Vec::new(),
            rooms: plan.rooms,
            publishers: plan.publishers,
        }
    }

    /// One more client connects; its seat.
    pub fn arrive(&mut self, world: &World) -> usize {
        let at = self.seats.len();
        let member = Member::new(at as u32, "/ws", self.rooms as usize);
        self.seats.push(Seat { client: None, member, paused: false, leaving: false });
        self.connect(world, at);
        at
    }

    /// Takes in everything that has arrived.
    pub fn hear(&mut self, world: &World) {
        while let Some(id) = world.next_news() {
            let at = self.owners[id.number as usize] as usize;
            if self.seats[at].client.as_ref().is_some_and(|client| client.id() == id) {
                self.read(at);
            }
        }
    }

    /// Somebody does something. Who was sent away by a server that stops does not come back at once.
    pub fn act(&mut self, world: &World) {
        if self.is_draining && !self.random.hits(Rate::per_mille(50)) {
            return;
        }
        let at = self.random.below(self.seats.len() as u64) as usize;
        if self.seats[at].client.is_none() {
            return self.connect(world, at);
        }
        if !self.seats[at].member.is_open() || self.seats[at].leaving {
            return;
        }
        let is_publisher = (at as u32) < self.publishers;
        match self.random.below(if is_publisher { 200 } else { 40 }) {
            0..2 => self.say_something_else(at),
            2..=3 => self.pause(at),
            4..=6 => self.seats[at].member.ping(),
            7..=10 => self.change_rooms(at),
            11 => self.hang_up(at),
            _ if is_publisher => self.publish(at),
            _ => {}
        }
        self.write(at);
    }

    /// Who paused reads again; nobody does anything else any more.
    pub fn calm(&mut self) {
        for seat in &mut self.seats {
            seat.resume();
        }
    }

    /// Whether nobody waits for anything: each client is gone, or open with every request answered.
    pub fn is_calm(&self) -> bool {
        let calm = |seat: &Seat| {
            seat.client.is_none() || (seat.member.is_open() && !seat.leaving && seat.member.is_settled())
        };
        self.seats.iter().all(calm) && self.checker.behind() == 0
    }

    /// Who is not calm, in words.
    pub fn restless(&self) -> Vec<String> {
        let restless = self.seats.iter().filter(|seat| seat.client.is_some());
        let words = restless.filter_map(|seat| {
            let Seat { member, paused, leaving, client } = seat;
            let (open, settled) = (member.is_open(), member.is_settled());
            let state = client.as_ref().map(Client::state);
            (!open || !settled || *leaving).then(|| {
                format!(
                    "{}: open {open} settled {settled} leaving {leaving} paused {paused} {state:?}",
                    member.number
                )
            })
        });
        words.collect()
    }

    /// Whether a client is open.
    pub fn is_open(&self, at: usize) -> bool {
        self.seats[at].client.is_some() && self.seats[at].member.is_open()
    }

    /// A client publishes in each room, to see that everything works.
    pub fn publish_everywhere(&mut self, at: usize) {
        for room in 0..self.rooms {
            self.seats[at].member.publish(&mut self.checker, room);
        }
        self.write(at);
    }

    /// Everybody goes, one way or another.
    pub fn disperse(&mut self) {
        for at in 0..self.seats.len() {
            if self.seats[at].client.is_some() {
                self.hang_up(at);
                self.write(at);
            }
        }
    }

    /// Whether everybody is gone.
    pub fn is_gone(&self) -> bool {
        self.seats.iter().all(|seat| seat.client.is_none())
    }

    fn connect(&mut self, world: &World, at: usize) {
        let client = world.connect(PORT);
        let number = client.id().number as usize;
        self.owners.resize(number + 1, 0);
        self.owners[number] = at as u32;
        let seat = &mut self.seats[at];
        let before = std::mem::replace(&mut seat.member, Member::new(at as u32, "/ws", 0));
        *seat = Seat { client: Some(client), member: before.again("/ws"), paused: false, leaving: false };
        self.write(at);
    }

    fn read(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        let client = seat.client.as_ref().expect("the caller looked");
        self.bytes.clear();
        client.read_into(&mut self.bytes);
        let state = client.state();
        let was_open = seat.member.is_open();
        if !self.bytes.is_empty() {
            seat.member.on_bytes(&mut self.kit, &mut self.checker, &mut self.bytes);
        }
        self.problems.append(&mut seat.member.problems);
        seat.leaving |= state.shut;
        if state.eof || state.reset || seat.member.closed.is_some() || seat.member.refused.is_some() {
            let is_answered = seat.member.closed.is_some() || seat.member.refused.is_some();
            self.refused += u64::from(self.is_draining && !was_open && !is_answered);
            self.note_end(at);
            return self.drop_client(at);
        }
        if !was_open && seat.member.is_open() {
            self.enter_rooms(at);
        }
        self.write(at);
    }

    /// Most go back to where they were, and somewhere else.
    fn enter_rooms(&mut self, at: usize) {
        let member = &mut self.seats[at].member;
        for room in member.rooms_before().into_iter().take(3) {
            if self.random.hits(Rate::per_mille(800)) {
                member.join(room);
            }
        }
        for _ in 0..self.random.within(1, 2) {
            member.join(self.random.below(self.rooms.into()) as u32);
        }
    }

    fn note_end(&mut self, at: usize) {
        match self.seats[at].member.refused.take() {
            Some(408) => self.timeouts += 1,
            Some(status) => self.problems.push(format!("client {at}: refused with {status}")),
            None => {}
        }
        let Some(code) = self.seats[at].member.closed.take() else { return };
        match CLOSE_CODES.iter().position(|known| Some(*known) == code) {
            Some(known) => self.closes[known] += 1,
            None => self.problems.push(format!("client {at}: closed with {code:?}")),
        }
    }

    /// Sends what the member wrote, now and then in pieces.
    fn write(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        let (Some(client), out) = (&seat.client, &mut seat.member.session.out) else { return };
        if out.is_empty() {
            return;
        }
        let cut = match self.random.hits(Rate::per_mille(100)) {
            true => self.random.below(out.len() as u64) as usize,
            false => 0,
        };
        client.write(&out[..cut]);
        client.write(&out[cut..]);
        out.clear();
    }

    fn publish(&mut self, at: usize) {
        let burst = if self.random.hits(Rate::per_mille(50)) { self.random.within(2, 30) } else { 1 };
        for _ in 0..burst {
            let rooms: Vec<u32> = self.seats[at].member.rooms().collect();
            let room = match self.random.below(4) {
                0 => self.random.below(self.rooms.into()) as u32,
                at => rooms.get(at as usize % rooms.len().max(1)).copied().unwrap_or(at as u32),
            };
            let blind = self.random.hits(Rate::per_mille(100));
            let (member, checker) = (&mut self.seats[at].member, &mut self.checker);
            if blind { member.publish_blindly(checker, room) } else { member.publish(checker, room) }
        }
    }

    fn change_rooms(&mut self, at: usize) {
        let member = &mut self.seats[at].member;
        let any = self.random.below(self.rooms.into()) as u32;
        let own = member.rooms().next().unwrap_or(any);
        match self.random.below(5) {
            0 => member.join(any),
            1 => member.leave(own),
            // Back before the answer, away before the answer, and both.
            2 => [member.leave(own), member.join(own)].into_iter().collect(),
            3 => [member.join(any), member.leave(any)].into_iter().collect(),
            _ => [member.join(any), member.leave(any), member.join(any)].into_iter().collect(),
        }
    }

    fn pause(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        if seat.paused {
            return seat.resume();
        }
        seat.paused = true;
        if let Some(client) = &seat.client {
            client.stop_reading();
        }
    }

    /// What the endpoint's handler answers with an echo, a panic, or a close.
    fn say_something_else(&mut self, at: usize) {
        let words: [&[u8]; 3] = [b"hello", b"panic", b"close"];
        self.seats[at].member.session.binary(words[self.random.below(3) as usize]);
    }

    /// Ends a connection: politely, by ending the direction, by leaving, by a reset.
    fn hang_up(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        seat.resume();
        seat.leaving = true;
        let client = seat.client.as_ref().expect("only who is there hangs up");
        match self.random.below(4) {
            0 if seat.member.is_open() => seat.member.session.close(),
            1 => client.shutdown(),
            2 => {
                client.reset();
                self.drop_client(at);
            }
            _ => self.drop_client(at),
        }
    }

    fn drop_client(&mut self, at: usize) {
        self.seats[at].member.away(&mut self.checker);
        self.seats[at].client = None;
    }
}

impl Seat {
    fn resume(&mut self) {
        if std::mem::take(&mut self.paused)
            && let Some(client) = &self.client
        {
            client.resume_reading();
        }
    }
}
