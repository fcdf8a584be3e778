//! The key that a command works on, checked.

use crate::errors::{Failure, Outcome};
use crate::keyspace::{self, check_id, Address, Place};
use crate::schema::{Shape, Table};
use crate::server::{Arg, Context};
use crate::store::Target;

/// A row of any table that MIROIR.PUT and its siblings work on.
///
/// # Errors
/// For any other key; the error names the commands that do work on it.
pub fn row(key: Arg<'_>) -> Outcome<Target<'_>> {
    let address = keyspace::locate(key.bytes())
        .ok_or_else(|| Failure::key(key.bytes(), "<namespace>:<table>:<id>, with a table of miroir"))?;
    if address.table.shape != Shape::Row {
        return Err(misplaced(key, &address));
    }
    if let Place::Reserved(_) = address.place {
        let table = address.table.name;
        let expected = format!(
            "the key of a row; ids that begin with '_' are reserved, {table} is listed by MIROIR.LIST"
        );
        return Err(Failure::key(key.bytes(), expected));
    }
    with_id(key, address)
}

/// A row that is to be written: in a cluster its index has to be in the same slot.
///
/// # Errors
/// For any other key, and CROSSSLOT.
pub fn row_to_write<'a>(context: &Context<'_>, key: Arg<'a>) -> Outcome<Target<'a>> {
    let target = row(key)?;
    one_slot(context, &target.address)?;
    Ok(target)
}

/// A row, or a structure, of the table of this name.
///
/// # Errors
/// For any other key, and CROSSSLOT in a cluster if the structure keeps several keys without a hash tag.
pub fn of<'a>(context: &Context<'_>, key: Arg<'a>, table: &str) -> Outcome<Target<'a>> {
    let address = keyspace::locate(key.bytes()).filter(|found| {
        found.table.name == table && matches!(found.place, Place::Row(_) | Place::Reserved(_))
    });
    let address = address.ok_or_else(|| {
        let segment = crate::schema::table(table).map_or(table, |table| table.segment);
        Failure::key(key.bytes(), format_args!("<namespace>:{segment}:<id>"))
    })?;
    one_slot(context, &address)?;
    with_id(key, address)
}

/// The structure of which a namespace has one.
///
/// # Errors
/// For any other key, and CROSSSLOT in a cluster if the namespace has no hash tag.
pub fn single<'a>(context: &Context<'_>, key: Arg<'a>, table: &str) -> Outcome<Address<'a>> {
    let address = keyspace::locate(key.bytes())
        .filter(|found| found.table.name == table && found.place == Place::Table)
        .ok_or_else(|| Failure::key(key.bytes(), format_args!("<namespace>:{table}")))?;
    one_slot(context, &address)?;
    Ok(address)
}

fn with_id<'a>(key: Arg<'a>, address: Address<'a>) -> Outcome<Target<'a>> {
    let id = match address.place {
        Place::Row(id) | Place::Reserved(id) | Place::Side(_, id) => id,
        Place::Table => b"",
    };
    check_id(address.table, id)
        .map(|id| Target { key, address, id })
        .map_err(|expected| Failure::key(key.bytes(), expected))
}

/// The table that a table key names.
///
/// # Errors
/// For any other key, for a table without rows, and in a cluster CROSSSLOT if the namespace has no hash tag and TRYAGAIN while
/// its slot moves.
pub fn table<'a>(context: &Context<'_>, key: Arg<'a>) -> Outcome<Address<'a>> {
    let address = keyspace::locate(key.bytes()).filter(|found| found.place == Place::Table);
    let address = address.ok_or_else(|| {
        Failure::key(key.bytes(), "a table key, <namespace>:<table>, with a table of miroir")
    })?;
    if address.table.shape != Shape::Row {
        let Table { name, family, .. } = address.table;
        let expected = format_args!("the table key of a table with rows; {name} is for {family}").to_string();
        return Err(Failure::key(key.bytes(), expected));
    }
    // The rows are other keys than the one that the client named, also in tables without an index.
    same_slot(context, &address)?;
    if context.in_cluster() {
        // While the slot moves no node has all of them. The server tells it of two keys that are not there.
        context.reach([key.bytes(), &address.row(b"")])?;
    }
    Ok(address)
}

fn one_slot(context: &Context<'_>, address: &Address<'_>) -> Outcome<()> {
    if address.table.tagged {
        same_slot(context, address)
    } else {
        Ok(())
    }
}

fn same_slot(context: &Context<'_>, address: &Address<'_>) -> Outcome<()> {
    if !keyspace::has_hash_tag(address.namespace) && context.in_cluster() {
        return Err(Failure::cross_slot(address.table.name, address.namespace));
    }
    Ok(())
}

fn misplaced(key: Arg<'_>, address: &Address<'_>) -> Failure {
    let table = address.table;
    Failure::key(key.bytes(), format_args!("the key of a row; {} is for {}", table.name, table.family))
}
